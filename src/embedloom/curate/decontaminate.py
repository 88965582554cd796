"""Training rows that repeat an evaluation set: a text of it word for word, or a long run of its words.

Everything is compared as numbers of 64 bits: about 8 bytes for each word of the evaluation texts, in files that all
processes share.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from embedloom.curate.texts import hashes_of, words_of
from embedloom.data.evaluation_texts import EvaluationText
from embedloom.data.shingles import whole, windows, word_hashes
from embedloom.data.words import unspaced_share_of, words
from embedloom.records import CLASSIFICATION, Example

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.uint64]

RUN_WORDS = 13
"""Words in a row that two texts have in common only if one was taken from the other."""

RUN_LETTERS = 50
"""The same for scripts without spaces, in letters."""

SIDES = ("query", "document")
"""Sentences of pairs and labelled texts count as queries: nothing exempts a match with them."""

_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Contamination:
    """What training rows are compared with: ascending numbers by (side, kind), and which set each came from.

    Attributes:
        sets: names of the evaluation sets.
        numbers: by `query` and `document`: whole texts and runs of words, ascending.
        origins: place in `sets` for each number.
    """

    sets: tuple[str, ...]
    numbers: dict[str, Numbers]
    origins: dict[str, NDArray[np.uint32]]

    def save(self, folder: Path) -> None:
        """Writes the arrays to a folder, from which several processes map them."""
        (folder / "sets.txt").write_text("\n".join(self.sets), encoding="utf-8")
        for side in SIDES:
            np.save(folder / f"{side}-numbers.npy", self.numbers[side], allow_pickle=False)
            np.save(folder / f"{side}-origins.npy", self.origins[side], allow_pickle=False)

    @staticmethod
    def open(folder: Path) -> Contamination:
        """The arrays of a folder, mapped: they are read as they are needed."""

        def mapped(name: str) -> NDArray[np.generic]:
            return np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]

        sets = tuple((folder / "sets.txt").read_text(encoding="utf-8").split("\n"))
        numbers = {side: mapped(f"{side}-numbers").view(np.uint64) for side in SIDES}
        origins = {side: mapped(f"{side}-origins").view(np.uint32) for side in SIDES}
        return Contamination(sets, numbers, origins)

    def match(self, text: str, *, documents: bool = True) -> str:
        """How a text repeats an evaluation set, or an empty string.

        Args:
            text: of a training row.
            documents: whether a match with a corpus counts, besides queries and sentences.
        """
        found = words_of(text)
        if not found:
            return ""
        hashes = hashes_of(text)
        length = _run_length(found)
        own = np.concatenate([whole(hashes), windows(hashes, length)])
        for side in SIDES if documents else SIDES[:1]:
            numbers = self.numbers[side]
            if not len(numbers):
                continue
            places = np.minimum(np.searchsorted(numbers, own), len(numbers) - 1)
            hits = np.flatnonzero(numbers[places] == own)
            if len(hits):
                name = self.sets[int(self.origins[side][places[hits[0]]])]
                if hits[0] == 0:
                    return f"the same as a {side} of {name}"
                run = " ".join(found[hits[0] - 1 : hits[0] - 1 + length])
                return f"{len(hits)} runs of {length} words of a {side} of {name}, the first: {run[:120]}"
        return ""


def contamination(texts: Iterable[EvaluationText]) -> Contamination:
    """The index over the texts of evaluation sets."""
    sets: dict[str, int] = {}
    parts: dict[str, list[tuple[Numbers, NDArray[np.uint32]]]] = {side: [] for side in SIDES}
    stream = iter(texts)
    while block := list(islice(stream, _BLOCK)):
        for side in SIDES:
            own = [text for text in block if (text.side == "document") == (side == "document")]
            pieces = [(sets.setdefault(text.set, len(sets)), _numbers(words(text.text))) for text in own]
            if pieces:
                origins = np.repeat([at for at, _ in pieces], [len(found) for _, found in pieces]).astype(np.uint32)
                parts[side].append(_distinct(np.concatenate([found for _, found in pieces]), origins))
    joined = {side: _joined(found) for side, found in parts.items()}
    return Contamination(
        tuple(sets),
        {side: found[0] for side, found in joined.items()},
        {side: found[1] for side, found in joined.items()},
    )


def contaminated(example: Example, index: Contamination, *, shares_corpus: Collection[str] = ()) -> str:
    """How a row repeats an evaluation set, or an empty string. Labels are not compared: sets share them by right.

    The real text of a grounded example may stand in a corpus that is searched, for that is where it comes from; it must
    not be one of the queries or sentences. What a language model wrote has no such exemption.

    Args:
        example: a training row.
        index: of the evaluation sets.
        shares_corpus: sides of the row, of `query` and `positive`, that may stand in a corpus that is searched: the
            positives of labelled sets, which share theirs over all splits, and both sides of pairs of real text.
    """
    for side, text, written in _compared(example):
        if detail := index.match(text, documents=written and side not in shares_corpus):
            return f"{side}: {detail}"
    return ""


def _compared(example: Example) -> Iterator[tuple[str, str, bool]]:
    yield "query", example.query, example.family != "grounded-sts"
    if example.family != CLASSIFICATION:
        for text in example.positives:
            yield "positive", text, not (example.family == "grounded" and example.passage_id)


def _numbers(found: Sequence[str]) -> Numbers:
    if not found:
        return np.empty(0, dtype=np.uint64)
    hashes = word_hashes(found)
    return np.concatenate([whole(hashes), windows(hashes, _run_length(found))])


def _run_length(found: Sequence[str]) -> int:
    return RUN_LETTERS if unspaced_share_of(found) > 0.5 else RUN_WORDS


def _distinct(numbers: Numbers, origins: NDArray[np.uint32]) -> tuple[Numbers, NDArray[np.uint32]]:
    found, first = np.unique(numbers, return_index=True)
    return found, origins[first]


def _joined(parts: Sequence[tuple[Numbers, NDArray[np.uint32]]]) -> tuple[Numbers, NDArray[np.uint32]]:
    if not parts:
        return np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.uint32)
    return _distinct(np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts]))
