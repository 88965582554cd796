"""Texts that are nearly the same, found over a whole set with MinHash and locality-sensitive hashing."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from embedloom.data.words import words

PERMUTATIONS = 128


def near_duplicates(texts: Sequence[str], *, threshold: float) -> Iterator[tuple[int, int]]:
    """(index of a text, index of the earlier text that it nearly repeats).

    Two texts are alike if the estimated Jaccard similarity of their words and word pairs reaches `threshold`. A text is
    compared with those that stay, so that a chain of small changes doesn't drop its far end.

    Args:
        texts: all texts; the first of several that are alike stays.
        threshold: above 0; above 1 nothing is alike.
    """
    if threshold > 1:
        return
    from datasketch import MinHashLSH

    index = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS)
    signatures: dict[int, Any] = {}
    for at, text in enumerate(texts):
        signature = _signature(text)
        if signature is None:
            continue
        alike = [other for other in index.query(signature) if signature.jaccard(signatures[other]) >= threshold]
        if alike:
            yield at, min(alike)
        else:
            index.insert(at, signature, check_duplication=False)
            signatures[at] = signature


def _signature(text: str) -> Any:
    from datasketch import LeanMinHash, MinHash

    found = words(text)
    shingles = {*found, *(f"{a} {b}" for a, b in pairwise(found))}
    if not shingles:
        return None
    signature = MinHash(num_perm=PERMUTATIONS, seed=1, hashfunc=zlib.crc32)
    signature.update_batch([shingle.encode("utf-8", "surrogatepass") for shingle in shingles])
    return LeanMinHash(signature)
