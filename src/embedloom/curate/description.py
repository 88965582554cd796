"""What a set of training rows is like: lengths, repetition, distinct instructions, and a few of the rows themselves.

Rows are read once and not held. Shares of distinct runs of words are taken over the first `MEASURED_WORDS` words of
each group, since they fall with the number of words: of groups of unequal size only equal parts can be compared.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from embedloom.curate.texts import words_of
from embedloom.records import Example

MEASURED_WORDS = 20_000
"""Words of a group over which its distinct runs are counted."""

SAMPLES = 3
"""Rows shown of each family."""

STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Lower ends of the classes of length, in words; the last is open."""


@dataclass
class Group:
    """One family, or all rows.

    Attributes:
        rows: how many.
        query_words: rows by the class of length of their query, an index into `STEPS`.
        document_words: positives and negatives by their class.
        negatives: rows with a hard negative.
        measured: words that the shares of distinct runs were counted over.
        runs: the distinct runs of one and of three words, as numbers.
        counted: how many runs there were of either length.
    """

    rows: int = 0
    negatives: int = 0
    query_words: Counter[int] = field(default_factory=Counter)
    document_words: Counter[int] = field(default_factory=Counter)
    measured: int = 0
    runs: tuple[set[int], set[int]] = field(default_factory=lambda: (set(), set()))
    counted: list[int] = field(default_factory=lambda: [0, 0])

    def distinct(self, length: int) -> float:
        """Share of the group's runs of `length` words (1 or 3) that differ from one another, 0 to 1."""
        place = (1, 3).index(length)
        return len(self.runs[place]) / self.counted[place] if self.counted[place] else 0.0


@dataclass
class Description:
    """What `describe` found.

    Attributes:
        families: by name, the largest first.
        all: every row.
        languages: rows by language; of bitext by its source.
        targets: the languages that rows are translated into.
        instructions: how many distinct ones, and the most frequent with their counts.
        sources: rows by who wrote them.
        samples: some rows of each family, drawn by their ids.
    """

    families: dict[str, Group] = field(default_factory=dict)
    all: Group = field(default_factory=Group)
    languages: Counter[str] = field(default_factory=Counter)
    targets: set[str] = field(default_factory=set)
    sources: Counter[str] = field(default_factory=Counter)
    instructions: int = 0
    common_instructions: tuple[tuple[str, int], ...] = ()
    samples: dict[str, tuple[Example, ...]] = field(default_factory=dict)


def describe(rows: Iterable[Example]) -> Description:
    """Counts and samples of training rows. Distinct instructions are held, of the rows nothing."""
    found = Description()
    instructions: Counter[str] = Counter()
    drawn: dict[str, list[tuple[int, int, Example]]] = {}
    for number, row in enumerate(rows):
        family = row.family or "unnamed"
        for group in (found.families.setdefault(family, Group()), found.all):
            _add(group, row)
        found.languages[row.language or "not stated"] += 1
        found.targets |= {row.target_language} - {""}
        found.sources[row.source or "not stated"] += 1
        instructions[row.instruction] += 1
        kept = drawn.setdefault(family, [])
        # The smallest hashes are a fair draw whose outcome the order of the rows doesn't change.
        order = -int.from_bytes(hashlib.blake2b(row.id.encode(), digest_size=6).digest(), "big")
        if len(kept) < SAMPLES:
            heapq.heappush(kept, (order, number, row))
        elif order > kept[0][0]:
            heapq.heapreplace(kept, (order, number, row))
    found.families = dict(sorted(found.families.items(), key=lambda item: -item[1].rows))
    found.samples = {name: tuple(row for *_, row in sorted(drawn[name], reverse=True)) for name in found.families}
    found.instructions = len(instructions)
    found.common_instructions = tuple(instructions.most_common(8))
    return found


def length_class(count: int) -> int:
    """Index into `STEPS` of a length in words."""
    return min(max(count, 1).bit_length() - 1, len(STEPS) - 1)


def _add(group: Group, row: Example) -> None:
    group.rows += 1
    group.negatives += bool(row.negatives)
    group.query_words[length_class(len(words_of(row.query)))] += 1
    for text in (*row.positives, *row.negatives):
        group.document_words[length_class(len(words_of(text)))] += 1
    for text in (row.query, *row.positives):
        if group.measured >= MEASURED_WORDS:
            return
        found = words_of(text)[: MEASURED_WORDS - group.measured]
        group.measured += len(found)
        for place, length in enumerate((1, 3)):
            runs = [hash(found[at : at + length]) for at in range(len(found) - length + 1)]
            group.runs[place].update(runs)
            group.counted[place] += len(runs)
