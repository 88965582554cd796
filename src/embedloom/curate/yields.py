"""What came of what was asked: counts by family, by language and by the rule that dropped the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from embedloom.records import Example, Prompt, Reject


@dataclass(frozen=True)
class Yields:
    """Counts of prompts asked, examples parsed and examples kept, and of rejects by (stage, rule, family)."""

    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    parsed: Counter[tuple[str, str]] = field(default_factory=Counter)
    kept: Counter[tuple[str, str]] = field(default_factory=Counter)
    dropped: Counter[tuple[str, str, str]] = field(default_factory=Counter)

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

    def rules(self) -> dict[str, int]:
        """Rejects by `stage/rule`, the most frequent first."""
        counts: Counter[str] = Counter()
        for (stage, rule, _), count in self.dropped.items():
            counts[f"{stage}/{rule}"] += count
        return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))

    def to_json(self) -> dict[str, object]:
        """For the manifest: totals, the two tables and the rules."""
        return {
            "asked": self.asked.total(),
            "parsed": self.parsed.total(),
            "kept": self.kept.total(),
            "by_family": self.table("family"),
            "by_language": self.table("language"),
            "rejects": self.rules(),
        }


def count_yields(
    prompts: Iterable[Prompt], parsed: Iterable[Example], kept: Iterable[Example], rejects: Iterable[Reject]
) -> Yields:
    """Counts the rows of the stages of one run. Each argument may be a stream, read once; ids are held in memory."""
    yields = Yields()
    family: dict[str, str] = {}
    for prompt in prompts:
        yields.asked[prompt.family, prompt.language] += 1
        family[prompt.id] = prompt.family
    for example in parsed:
        yields.parsed[example.family, example.language] += 1
        family[example.id] = example.family
    for example in kept:
        yields.kept[example.family, example.language] += 1
    for reject in rejects:
        yields.dropped[reject.stage, reject.rule, family.get(reject.id, "")] += 1
    return yields
