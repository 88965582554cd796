"""A text as the set of its words and word pairs, each a 32-bit number: what likeness of texts is measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

REMEMBERED = 1 << 19
"""Words whose numbers are kept in memory, about 100 MB of them at most."""

_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)


class _Hashes(dict[str, int]):
    """The number of a word, worked out once for most words of a text."""

    def __missing__(self, word: str) -> int:
        if len(self) >= REMEMBERED:
            self.clear()
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        number = int.from_bytes(digest, "little")
        self[word] = number
        return number


_HASHES = _Hashes()


def word_hashes(found: Sequence[str]) -> NDArray[np.uint64]:
    """One 64-bit number a word, shape (words,); equal words have equal numbers on every machine."""
    return np.fromiter(map(_HASHES.__getitem__, found), dtype=np.uint64, count=len(found))


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The values with each bit spread over all of them (two rounds of multiply and fold)."""
    for _ in range(2):
        values = values * _FACTOR
        values = values ^ (values >> _SHIFT)
    return values


def shingles(hashes: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """The distinct words and pairs of neighbours, ascending, shape (shingles,).

    Args:
        hashes: of the text's words, from `word_hashes`.
    """
    pairs = mixed(hashes[:-1] * _FACTOR + hashes[1:])
    both = (np.concatenate([hashes, pairs]) >> _SHIFT).astype(np.uint32)
    both.sort()
    return both[np.concatenate([[True], both[1:] != both[:-1]])] if len(both) else both


def windows(hashes: NDArray[np.uint64], length: int) -> NDArray[np.uint64]:
    """One number for each run of `length` words, shape (words - length + 1,); none if the text is shorter."""
    count = len(hashes) - length + 1
    if count <= 0:
        return np.empty(0, dtype=np.uint64)
    # The difference of two sums of all that came before, brought to the same power: one step whatever the length.
    inverse, powers = _powers(1 << (len(hashes) - 1).bit_length())
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(hashes * inverse[: len(hashes)], dtype=np.uint64)])
    return mixed((sums[length:] - sums[:count]) * powers[:count])


def whole(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One number for the words in their order, shape (1,); no run of words within another text has it."""
    powers = _powers(1 << len(hashes).bit_length())[1]
    return mixed(np.array([(hashes * powers[: len(hashes)]).sum(dtype=np.uint64) ^ np.uint64(len(hashes))]))


@cache
def _powers(count: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The powers 0 to `count` - 1 of the factor's inverse and of the factor, both modulo 2 to the 64th."""
    inverse = np.uint64(pow(int(_FACTOR), -1, 1 << 64))
    one = np.ones(1, dtype=np.uint64)
    return (
        np.multiply.accumulate(np.concatenate([one, np.full(count - 1, inverse)])),
        np.multiply.accumulate(np.concatenate([one, np.full(count - 1, _FACTOR)])),
    )


def jaccard(first: NDArray[np.uint32], second: NDArray[np.uint32]) -> float:
    """Size of the intersection over size of the union of two ascending sets; 0 for two empty ones."""
    if not len(first) or not len(second):
        return 0.0
    both = np.concatenate([first, second])
    both.sort(kind="stable")
    shared = int(np.count_nonzero(both[1:] == both[:-1]))
    return shared / (len(both) - shared)
