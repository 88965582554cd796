"""Duplicates over the whole set: the same query again, and texts that are nearly the same.

Of several that are alike the one with the smallest id stays, so that the outcome doesn't depend on the order of the
rows, nor on how they were split among processes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from embedloom.curate.texts import hashes_of, normalised
from embedloom.data.near_duplicates import NearDuplicates, band_keys
from embedloom.data.shingles import shingles
from embedloom.records import Example, Reject

if TYPE_CHECKING:
    from numpy.typing import NDArray

STAGE = "duplicates"
THRESHOLD = 0.8
"""Jaccard similarity of words and word pairs from which two texts are near duplicates."""


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """What the search needs of some rows.

    Attributes:
        ids: of the rows.
        identities: a number that exact duplicates share, shape (rows,).
        sets: the shingles of what was written.
        keys: their band keys, shape (rows, bands).
    """

    ids: Sequence[str]
    identities: NDArray[np.uint64]
    sets: Sequence[NDArray[np.uint32]]
    keys: NDArray[np.uint32]


def fingerprints(examples: Sequence[Example], threshold: float) -> Fingerprints:
    """The fingerprints of rows; above 1 as the threshold there is nothing to find near duplicates by."""
    made = [(example.id, identity(example), written_shingles(example)) for example in examples]
    return fingerprints_of(made, threshold)


def fingerprints_of(made: Sequence[tuple[str, int, NDArray[np.uint32]]], threshold: float) -> Fingerprints:
    """The fingerprints from (id, identity, shingles) of each row."""
    sets = [one for _, _, one in made] if threshold <= 1 else []
    identities = np.array([number for _, number, _ in made], dtype=np.uint64)
    return Fingerprints([name for name, _, _ in made], identities, sets, band_keys(sets, min(threshold, 1.0)))


class Duplicates:
    """Collects the fingerprints of rows and tells which rows go. Use it in `with`: it has a temporary file.

    Memory for 500,000 rows: about 90 MB, and 150 MB more while it decides, whatever the length of the texts.
    """

    def __init__(self, threshold: float = THRESHOLD) -> None:
        self._threshold = threshold
        self.ids: list[str] = []
        self._identities: list[NDArray[np.uint64]] = []
        self._near = NearDuplicates(threshold)

    def __enter__(self) -> Duplicates:
        return self

    def __exit__(self, *_: object) -> None:
        self._near.__exit__()

    def add(self, found: Fingerprints) -> None:
        """Adds rows behind those that were added before."""
        self.ids += found.ids
        self._identities.append(found.identities)
        if self._threshold <= 1:
            self._near.add(found.sets, found.keys)

    def verdicts(self) -> dict[int, tuple[str, str]]:
        """{place of a row that goes: (rule, id of the row that stays)}, places in the order of adding."""
        if not self.ids:
            return {}
        order = np.array(sorted(range(len(self.ids)), key=self.ids.__getitem__), dtype=np.int64)
        identities = np.concatenate(self._identities)[order]
        _, first, group = np.unique(identities, return_index=True, return_inverse=True)
        stays = order[first[group]]
        gone = stays != order
        verdicts = {
            place: ("exact-duplicate", self.ids[other])
            for place, other in zip(order[gone].tolist(), stays[gone].tolist(), strict=True)
        }
        if self._threshold <= 1:
            for place, other in self._near.pairs(order[~gone]):
                verdicts[place] = ("near-duplicate", self.ids[other])
        return verdicts


def drop_duplicates(examples: Iterable[Example], *, threshold: float = THRESHOLD) -> Iterator[Example | Reject]:
    """Examples in their order; `Reject`s by `exact-duplicate` and `near-duplicate` name the example that stays.

    An exact duplicate has the same query under the same instruction (for bitext into the same language), up to case,
    punctuation and white space. A near duplicate is one by the text that was written: query and positives, and for
    grounded examples what isn't the passage itself, since a passage is meant to recur.

    Args:
        examples: all of them are held in memory; `curate_file` holds none.
        threshold: Jaccard similarity from which texts are alike; above 1 turns the search off.
    """
    rows = list(examples)
    with Duplicates(threshold) as search:
        search.add(fingerprints(rows, threshold))
        verdicts = search.verdicts()
    for at, row in enumerate(rows):
        yield Reject(row.id, STAGE, *verdicts[at]) if at in verdicts else row


def identity(example: Example) -> int:
    """A number of 64 bits that exact duplicates share."""
    text = "\n".join((normalised(example.instruction), example.target_language, normalised(example.query)))
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def written_shingles(example: Example) -> NDArray[np.uint32]:
    """The shingles of the texts by which a row is a near duplicate."""
    texts = {
        "grounded": (example.query,),
        "grounded-sts": (*example.positives, *example.negatives),
    }.get(example.family, (example.query, *example.positives))
    return shingles(np.concatenate([hashes_of(text) for text in texts]))
