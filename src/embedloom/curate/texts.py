"""The words of the texts of one example, split once however many rules look at them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from embedloom.data.shingles import word_hashes
from embedloom.data.words import words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KEPT = 64
"""Texts whose words are remembered: those of a few examples."""


@lru_cache(maxsize=KEPT)
def words_of(text: str) -> tuple[str, ...]:
    """The text's words, as `data.words.words` splits it."""
    return tuple(words(text))


@lru_cache(maxsize=KEPT)
def hashes_of(text: str) -> NDArray[np.uint64]:
    """A number for each of the text's words (`data.shingles.word_hashes`), shape (words,)."""
    return word_hashes(words_of(text))


@lru_cache(maxsize=KEPT)
def normalised(text: str) -> str:
    """The text's words joined by one space."""
    return " ".join(words_of(text))
