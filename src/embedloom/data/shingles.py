"""A text as the set of its words and word pairs, each a 32-bit number: what likeness of texts is measured on."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)


def word_hashes(found: Sequence[str]) -> NDArray[np.uint64]:
    """One well-spread 64-bit number a word, shape (words,); equal words have equal numbers on every machine."""
    checksums = [zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in found]
    return mixed(np.array(checksums, dtype=np.uint64))


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The values with each bit spread over all of them (two rounds of multiply and fold)."""
    for _ in range(2):
        values = values * _FACTOR
        values = values ^ (values >> _SHIFT)
    return values


def shingles(found: Sequence[str]) -> NDArray[np.uint32]:
    """The distinct words and pairs of neighbours, ascending, shape (shingles,).

    Args:
        found: the text's words (`data.words.words`).
    """
    hashes = word_hashes(found)
    pairs = mixed(hashes[:-1] * _FACTOR + hashes[1:])
    return np.unique((np.concatenate([hashes, pairs]) >> _SHIFT).astype(np.uint32))


def windows(hashes: NDArray[np.uint64], length: int) -> NDArray[np.uint64]:
    """One number for each run of `length` words, shape (words - length + 1,); none if the text is shorter."""
    count = len(hashes) - length + 1
    if count <= 0:
        return np.empty(0, dtype=np.uint64)
    sums = np.zeros(count, dtype=np.uint64)
    for place in range(length):
        sums = sums * _FACTOR + hashes[place : place + count]
    return mixed(sums)


def jaccard(first: NDArray[np.uint32], second: NDArray[np.uint32]) -> float:
    """Size of the intersection over size of the union of two ascending sets; 0 for two empty ones."""
    if not len(first) or not len(second):
        return 0.0
    both = np.concatenate([first, second])
    both.sort(kind="stable")
    shared = int(np.count_nonzero(both[1:] == both[:-1]))
    return shared / (len(both) - shared)
