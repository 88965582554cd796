"""What came of what was asked: counts by family, by language and by the rule that dropped the rest."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from embedloom.curate.language import unjudged
from embedloom.records import Example, Prompt, Reject

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Yields:
    """Counts of prompts asked, examples parsed and kept by (family, language); of rejects by (stage, rule) besides.

    `texts` counts by language what of the kept examples is held to its language (no labels, no real passages), and
    `unjudged` those of these texts that are too short for that.
    """

    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    parsed: Counter[tuple[str, str]] = field(default_factory=Counter)
    kept: Counter[tuple[str, str]] = field(default_factory=Counter)
    dropped: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    texts: Counter[str] = field(default_factory=Counter)
    unjudged: Counter[str] = field(default_factory=Counter)

    def table(self, by: str) -> dict[str, dict[str, int]]:
        """Rows {family or language: {asked, parsed, kept}}, the largest first.

        Args:
            by: `family` or `language`.
        """
        place = ("family", "language").index(by)
        rows: dict[str, dict[str, int]] = {}
        for name, counts in (("asked", self.asked), ("parsed", self.parsed), ("kept", self.kept)):
            for key, count in counts.items():
                row = rows.setdefault(key[place], {"asked": 0, "parsed": 0, "kept": 0})
                row[name] += count
        return dict(sorted(rows.items(), key=lambda row: (-row[1]["asked"], -row[1]["parsed"], row[0])))

    def dropped_by(self, rule: str, by: str) -> dict[str, int]:
        """Rejects of one rule by family or language, the most frequent first."""
        place = 2 + ("family", "language").index(by)
        counts: Counter[str] = Counter()
        for key, count in self.dropped.items():
            if key[1] == rule:
                counts[key[place]] += count
        return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))

    def rules(self, family: str = "") -> dict[str, int]:
        """Rejects by `stage/rule`, the most frequent first; of one family or of all."""
        counts: Counter[str] = Counter()
        for (stage, rule, own, _), count in self.dropped.items():
            if family in ("", own):
                counts[f"{stage}/{rule}"] += count
        return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))

    def short_texts(self) -> dict[str, tuple[int, int]]:
        """By language, kept texts that are too short to be judged and all that are held to it; the most first."""
        counts = {name: (count, self.texts[name]) for name, count in self.unjudged.items() if count}
        return dict(sorted(counts.items(), key=lambda pair: (-pair[1][0], pair[0])))

    def to_json(self) -> dict[str, object]:
        """For the manifest: totals, the two tables, the rules, and what was too short for its language to be told."""
        return {
            "asked": self.asked.total(),
            "parsed": self.parsed.total(),
            "kept": self.kept.total(),
            "by_family": self.table("family"),
            "by_language": self.table("language"),
            "rejects": self.rules(),
            "rejects_by_family": {name: self.rules(name) for name in self.table("family") if self.rules(name)},
            "texts_held_to_a_language": self.texts.total(),
            "texts_too_short_to_judge": {name: short for name, (short, _) in self.short_texts().items()},
        }


class _Kinds:
    """Family and language by the id of a prompt or an example, in 10 bytes each."""

    def __init__(self) -> None:
        self._hashes, self._codes = array("Q"), array("H")
        self._kinds: dict[tuple[str, str], int] = {("", ""): 0}
        self._order: NDArray[np.int64] | None = None

    def add(self, identity: str, kind: tuple[str, str]) -> None:
        self._hashes.append(_number(identity))
        self._codes.append(self._kinds.setdefault(kind, len(self._kinds)))

    def find(self, identity: str) -> tuple[str, str]:
        if self._order is None:
            self._named = list(self._kinds)
            hashes = np.array(self._hashes, dtype=np.uint64)
            self._order = np.argsort(hashes, kind="stable")
            self._sorted, self._code = hashes[self._order], np.array(self._codes)[self._order]
        own = _number(identity)
        place = int(self._sorted.searchsorted(np.uint64(own)))
        found = place < len(self._sorted) and int(self._sorted[place]) == own
        return self._named[int(self._code[place])] if found else ("", "")


def _number(identity: str) -> int:
    return int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=8).digest(), "little")


def count_yields(
    prompts: Iterable[Prompt], parsed: Iterable[Example], kept: Iterable[Example], rejects: Iterable[Reject]
) -> Yields:
    """Counts the rows of the stages of one run. Each argument may be a stream, read once; 10 bytes a row are held."""
    yields = Yields()
    kinds = _Kinds()
    for prompt in prompts:
        yields.asked[prompt.family, prompt.language] += 1
        kinds.add(prompt.id, (prompt.family, prompt.language))
    for example in parsed:
        yields.parsed[example.family, example.language] += 1
        kinds.add(example.id, (example.family, example.language))
    for example in kept:
        yields.kept[example.family, example.language] += 1
        for language, short in unjudged(example):
            yields.texts[language] += 1
            yields.unjudged[language] += short
    for reject in rejects:
        yields.dropped[(reject.stage, reject.rule, *kinds.find(reject.id))] += 1
    return yields
