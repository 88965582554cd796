"""An embedder that knows words: texts that share words are near, whatever their instruction."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from embedloom.records import Progress, Vectors


class WordEmbedder:
    """A text's vector is the sum of random vectors of its words. `asked` lists (role, instruction, number of texts)."""

    name = "words"
    fingerprint = "w0"
    dimension = 64

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, int]] = []

    def encode_queries(self, texts: Sequence[str], instruction: str, *, progress: Progress | None = None) -> Vectors:
        self.asked.append(("query", instruction, len(texts)))
        return self._encode(texts, progress)

    def encode_documents(self, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
        self.asked.append(("document", "", len(texts)))
        return self._encode(texts, progress)

    def _encode(self, texts: Sequence[str], progress: Progress | None) -> Vectors:
        if progress is not None:
            progress(len(texts))
        out = np.array([sum(map(_vector, text.lower().split()), np.zeros(self.dimension)) for text in texts])
        return (out / np.linalg.norm(out, axis=1, keepdims=True)).astype(np.float32)


def _vector(word: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
    return np.random.default_rng(seed).normal(size=WordEmbedder.dimension)
