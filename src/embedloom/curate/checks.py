"""All that one example is held to by itself: rules, language, personal data, evaluation sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from embedloom.curate.decontaminate import Contamination, contaminated
from embedloom.curate.language import wrong_language
from embedloom.curate.personal import personal_data
from embedloom.curate.rules import RULES, STAGE
from embedloom.records import Example, Reject


@dataclass(frozen=True, slots=True)
class Checks:
    """Which checks are made besides the rules that always hold. It goes to other processes.

    Attributes:
        language: the text must be in the language that was asked for; needs the extra `languages`.
        personal: texts with personal data or secrets are dropped.
        contamination: folder in which a `Contamination` was saved; none if rows are compared with no evaluation set.
    """

    language: bool = False
    personal: bool = False
    contamination: Path | None = None

    def fault(self, example: Example) -> Reject | None:
        """The first check that an example fails."""
        for name, rule in RULES.items():
            if detail := rule(example):
                return Reject(example.id, STAGE, name, detail)
        if self.language and (detail := wrong_language(example)):
            return Reject(example.id, "language", "wrong-language", detail)
        if self.personal and (detail := personal_data(example)):
            return Reject(example.id, "personal", "personal-data", detail)
        if self.contamination is not None and (detail := contaminated(example, _opened(self.contamination))):
            return Reject(example.id, "decontaminate", "in-evaluation", detail)
        return None

    def apply(self, examples: Iterable[Example]) -> Iterator[Example | Reject]:
        """Each example, or why it goes."""
        for example in examples:
            yield self.fault(example) or example


@cache
def _opened(folder: Path) -> Contamination:
    return Contamination.open(folder)
