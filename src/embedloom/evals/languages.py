"""Sets that differ in their language alone: which they are, and how much text the world has in each."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from embedloom.data.languages import languages

CLASSES = ("high", "middle", "low")
"""Classes of resources, those with most text first; of a language outside of the 93, `low`."""
SOURCE = (
    "High, middle and low resource as in the table of 93 languages that synthetic data is asked for "
    "(arXiv 2401.00368, section 2; XLM-R's, arXiv 1911.02116): high are the 14 that the paper's chart names, middle "
    "the 4 with most CC-100 text behind them. Languages outside of the 93, marked with °, count as low."
)
"""Where the grouping comes from, in a sentence for the reader of a report."""
_ENDS = re.compile(r"^(.+?)-([a-z]{2,3})(?:_[A-Za-z]{4})?(?:-([a-z]{2,3})(?:_[A-Za-z]{4})?)?$")


@dataclass(frozen=True, slots=True)
class TaskLanguage:
    """The language of a set.

    Attributes:
        group: the set's name without its languages, such as `tatoeba`.
        label: as the set has it: `deu-eng`.
        name: English names, such as "German - English"; one where both sides are the same.
        resources: high, middle or low: the class of the language that isn't English.
        listed: whether that language is among the 93.
    """

    group: str
    label: str
    name: str
    resources: str
    listed: bool


def task_language(task: str) -> TaskLanguage | None:
    """The language that a set's name ends in, as in `xquad-de`, `tatoeba-deu-eng`, `SIB200-eng_Latn`; None without one.

    Codes are ISO 639-1 and ISO 639-3, with or without a script.
    """
    found = _ENDS.match(task)
    if found is None:
        return None
    group, *codes = found[1], *(code for code in found.groups()[1:] if code)
    names = _names()
    if not all(code in names for code in codes):
        return None
    shown = list(dict.fromkeys(names[code] for code in codes))
    other = next((name for name in shown if name != "English"), shown[0])
    known = {language.name: language.resources for language in languages()}
    listed = _STANDARD.get(other, other)
    label = task[len(group) + 1 :]
    return TaskLanguage(group, label, " – ".join(shown), known.get(listed, "low"), listed in known)


def language_groups(tasks: Iterable[tuple[str, str, str]]) -> dict[tuple[str, str, str], list[str]]:
    """Sets that differ in their language alone, where there are two of a kind at least.

    Args:
        tasks: (name, family, split) of each set.

    Returns:
        {(group, family, split): names of its sets}.
    """
    groups: dict[tuple[str, str, str], list[str]] = {}
    for task, family, split in tasks:
        found = task_language(task)
        if found is not None:
            groups.setdefault((found.group, family, split), []).append(task)
    return {key: names for key, names in groups.items() if len(set(names)) > 1}


_STANDARD = {
    "Norwegian Bokmål": "Norwegian",
    "Norwegian Nynorsk": "Norwegian",
    "Iranian Persian": "Persian",
    "Standard Malay": "Malay",
    "Standard Latvian": "Latvian",
    "Mandarin Chinese": "Chinese",
}
"""Names of ISO 639-3 for what the table of the 93 calls otherwise."""


@cache
def _names() -> dict[str, str]:
    """{code: English name}, of two letters and of three."""
    text = files("embedloom.evals").joinpath("language_codes.tsv").read_text(encoding="utf-8")
    rows = csv.DictReader((line for line in text.splitlines() if not line.startswith("#")), delimiter="\t")
    names = {language.code: language.name for language in languages()}
    names |= {row["code"]: row["name"] for row in rows}
    return names
