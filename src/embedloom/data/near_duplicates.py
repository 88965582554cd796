"""Texts that are nearly the same, found over a whole set: candidates by MinHash in bands, each decided exactly.

Memory does not grow with the length of the texts: at 500,000 texts and a threshold of 0.8 the bands take 42 MB, and
150 MB more while pairs are sought. The shingles, four bytes each, lie in a temporary file that is gone when the search
is.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from embedloom.data.shingles import jaccard, shingles, word_hashes
from embedloom.data.words import words

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Shingles = NDArray[np.uint32]

PERMUTATIONS = 128
RECALL = 0.99
"""Share of the pairs just at the threshold that the bands must bring to the exact comparison."""

_SEED = 1
_EMPTY = np.uint32(0)


def near_duplicates(texts: Sequence[str], *, threshold: float) -> Iterator[tuple[int, int]]:
    """(index of a text, index of the earlier text that it nearly repeats).

    Two texts are alike if the Jaccard similarity of their words and word pairs reaches `threshold`. A text is compared
    with those that stay, so that a chain of small changes doesn't drop its far end.

    Args:
        texts: all texts; the first of several that are alike stays.
        threshold: above 0; above 1 nothing is alike.
    """
    if threshold > 1:
        return
    sets = [shingles(word_hashes(words(text))) for text in texts]
    with NearDuplicates(threshold) as search:
        search.add(sets, band_keys(sets, threshold))
        yield from search.pairs(range(len(texts)))


@cache
def rows_of_a_band(threshold: float) -> int:
    """As many values of a signature in each band as leave `RECALL` at the threshold: more mean fewer candidates."""
    fitting = [rows for rows in range(1, 17) if 1 - (1 - threshold**rows) ** (PERMUTATIONS // rows) >= RECALL]
    return max(fitting, default=1)


def band_keys(sets: Sequence[Shingles], threshold: float) -> NDArray[np.uint32]:
    """One key for each band of each text, shape (texts, bands); 0 stands for a text without a word.

    Texts that share a key in a band are candidates.
    """
    from rensa import RMinHash

    rows = rows_of_a_band(threshold)
    bands = PERMUTATIONS // rows
    if not sets:
        return np.empty((0, bands), dtype=np.uint32)
    ends = np.cumsum([0, *map(len, sets)], dtype=np.uint64)
    flat = np.concatenate(sets).astype(np.uint64)
    digests = RMinHash.digest_matrix_from_flat_token_hashes(flat, ends, PERMUTATIONS, _SEED).to_rows()
    values = np.array(digests, dtype=np.uint64)[:, : bands * rows].reshape(len(sets), bands, rows)
    keys = np.zeros((len(sets), bands), dtype=np.uint64)
    for place in range(rows):
        keys = (keys + values[:, :, place]) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(32)
    found = np.maximum((keys >> np.uint64(32)).astype(np.uint32), 1)
    found[np.diff(ends) == 0] = _EMPTY
    return found


class NearDuplicates:
    """A search over texts added in portions, as shingles and band keys that were made elsewhere. Use it in `with`."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._file = tempfile.TemporaryFile(prefix="embedloom-shingles-")  # noqa: SIM115 - lives as long as the search
        self._sizes: list[NDArray[np.int64]] = []
        self._keys: list[NDArray[np.uint32]] = []

    def __enter__(self) -> NearDuplicates:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, sets: Sequence[Shingles], keys: NDArray[np.uint32]) -> None:
        """Adds texts behind those that were added before."""
        self._sizes.append(np.array([len(one) for one in sets], dtype=np.int64))
        self._keys.append(keys)
        for one in sets:
            self._file.write(one.tobytes())

    def pairs(self, order: Sequence[int] | NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """(text, the text that stays and that it nearly repeats), decided in the given order; first come, first kept.

        Args:
            order: the texts to compare, each at most once; the others are left out of the search.
        """
        self._file.flush()
        sizes = np.concatenate([*self._sizes, np.empty(0, dtype=np.int64)])
        starts = np.concatenate([[0], np.cumsum(sizes)]) * 4
        order = np.asarray(order, dtype=np.int64)
        if not len(order):
            return
        buckets, count = _shared_buckets(np.concatenate(self._keys)[order])
        # For each bucket the last text that came to stay in it, and for each text the one before it there.
        last = np.full(count, -1, dtype=np.int32)
        before = np.full(buckets.shape, -1, dtype=np.int32)
        for place in np.flatnonzero((buckets >= 0).any(axis=1)).tolist():
            own = [(band, bucket) for band, bucket in enumerate(buckets[place].tolist()) if bucket >= 0]
            candidates: set[int] = set()
            for band, bucket in own:
                other = int(last[bucket])
                while other >= 0:
                    candidates.add(other)
                    other = int(before[other, band])
            text = int(order[place])
            if candidates:
                alike = self._first_alike(text, [int(order[other]) for other in sorted(candidates)], starts)
                if alike is not None:
                    yield text, alike
                    continue
            for band, bucket in own:
                before[place, band] = last[bucket]
                last[bucket] = place

    def _first_alike(self, text: int, candidates: Sequence[int], starts: NDArray[np.int64]) -> int | None:
        own = self._shingles(text, starts)
        for other in candidates:
            size = int(starts[other + 1] - starts[other]) // 4
            if min(size, len(own)) < self.threshold * max(size, len(own)):
                continue
            if jaccard(own, self._shingles(other, starts)) >= self.threshold:
                return other
        return None

    def _shingles(self, text: int, starts: NDArray[np.int64]) -> Shingles:
        data = os.pread(self._file.fileno(), int(starts[text + 1] - starts[text]), int(starts[text]))
        return np.frombuffer(data, dtype=np.uint32)


def _shared_buckets(keys: NDArray[np.uint32]) -> tuple[NDArray[np.int32], int]:
    """Number of the bucket of each text in each band, -1 where the text is alone; and how many buckets there are."""
    buckets = np.full(keys.shape, -1, dtype=np.int32)
    count = 0
    for band in range(keys.shape[1]):
        order = np.argsort(keys[:, band], kind="stable")
        ordered = keys[order, band]
        same = np.concatenate([[False], ordered[1:] == ordered[:-1]])
        shared = (same | np.concatenate([same[1:], [False]])) & (ordered != _EMPTY)
        numbers = np.cumsum(shared & ~same) - 1
        buckets[order[shared], band] = count + numbers[shared]
        count += int(numbers[-1]) + 1
    return buckets, count
