"""The data card: what was asked, what came, what was dropped and why, what the rows are like, as a page and as text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedloom.curate.description import STEPS, Description, Group
from embedloom.curate.yields import Yields
from embedloom.page.rendering import render
from embedloom.records import Example, Reject

TEMPLATES = Path(__file__).parent / "templates"
SHOWN_CHARACTERS = 420
SHOWN_LANGUAGES = 24
SHOWN_REJECTS = 10
SMALL_MODEL = 3e9
"""Parameters below which a language model's zero-shot examples are warned of."""


@dataclass(frozen=True, slots=True)
class Card:
    """What the card is made from.

    Attributes:
        title: name of the run or of the data.
        description: of the rows that are described.
        yields: what was asked and what came of it; none for rows that no prompt of ours asked for.
        plan: examples asked for by family.
        shares: share of each language that was asked for, summing to 1; empty if nothing was asked.
        contaminated: rejects of rows that repeat an evaluation set; a few of them.
        generator: name of the language model.
        parameters: of the generator, as far as its name says; 0 if it doesn't.
        language_checked: whether texts were held to their language.
        compared: names of the evaluation sets that rows were compared with.
    """

    title: str
    description: Description
    yields: Yields | None = None
    plan: Mapping[str, int] | None = None
    shares: Mapping[str, float] | None = None
    contaminated: Sequence[Reject] = ()
    generator: str = ""
    parameters: float = 0.0
    language_checked: bool = False
    compared: Sequence[str] = ()

    @property
    def small_generator(self) -> bool:
        """Whether examples were asked for out of nothing, of a generator that is known to be too small for that."""
        ungrounded = any(not name.startswith("grounded") for name in self.plan or {})
        return ungrounded and 0 < self.parameters < SMALL_MODEL


def parameters_of(name: str) -> float:
    """Parameters of a model by its name, as in `gemma3-270m` or `Qwen3-8B`; 0 if the name doesn't say."""
    found = re.findall(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)\s*([mb])(?![a-z0-9])", name.casefold())
    return max((float(number) * (1e6 if unit == "m" else 1e9) for number, unit in found), default=0.0)


def card_html(card: Card) -> str:
    """The card as one page that loads nothing. Whatever comes from data is escaped."""
    return render(TEMPLATES, "data.html", _view(card), filters=FILTERS)


def card_markdown(card: Card) -> str:
    """The card as Markdown. Text that comes from data can't become markup."""
    return render(TEMPLATES, "data.md", _view(card), filters=FILTERS, escape=False)


def _view(card: Card) -> dict[str, Any]:
    found = card.description
    dropped = card.yields.dropped if card.yields else {}
    alike = sum(count for key, count in dropped.items() if key[1] == "near-duplicate")
    same = sum(count for key, count in dropped.items() if key[1] == "exact-duplicate")
    looked = found.all.rows + alike + same + sum(count for key, count in dropped.items() if key[0] == "round-trip")
    return {
        "card": card,
        "found": found,
        "families": _families(card),
        "languages": _languages(card),
        "rules": _bars(card.yields.rules()) if card.yields else [],
        "histograms": [
            ("Queries", _histogram(found.all.query_words)),
            ("Documents", _histogram(found.all.document_words)),
        ],
        "duplicates": {"near": alike, "exact": same, "near_rate": alike / looked if looked else 0.0},
        "groups": [(name, group) for name, group in found.families.items()],
        "sources": _bars(dict(found.sources.most_common(8))),
        "samples": [(name, [_sample(row) for row in rows]) for name, rows in found.samples.items()],
        "contaminated": list(card.contaminated)[:SHOWN_REJECTS],
        "contaminated_count": sum(count for key, count in dropped.items() if key[1] == "in-evaluation"),
        "wrong_language": card.yields.dropped_by("wrong-language", "language") if card.yields else {},
        "short": card.yields.short_texts() if card.yields else {},
        "short_count": card.yields.unjudged.total() if card.yields else 0,
        "text_count": card.yields.texts.total() if card.yields else 0,
        "shown": SHOWN_CHARACTERS,
    }


@dataclass(frozen=True, slots=True)
class FamilyLine:
    """One family: asked for in the plan, parsed, kept, and the share of what was asked that was kept."""

    name: str
    planned: int
    parsed: int
    kept: int
    rate: float
    group: Group | None


def _families(card: Card) -> list[FamilyLine]:
    table = card.yields.table("family") if card.yields else {}
    lines = []
    for name in dict.fromkeys([*(card.plan or {}), *table, *([] if table else card.description.families)]):
        row = table.get(name, {"asked": 0, "parsed": 0, "kept": 0})
        group = card.description.families.get(name)
        planned = (card.plan or {}).get(name, row["asked"])
        kept = row["kept"] if table else (group.rows if group else 0)
        if planned or kept:
            lines.append(FamilyLine(name, planned, row["parsed"], kept, kept / planned if planned else 0.0, group))
    return lines


@dataclass(frozen=True, slots=True)
class LanguageLine:
    """One language: its rows, the share it was planned to have and has, both as per cent of the longest bar."""

    name: str
    asked: int
    kept: int
    share: float
    planned: float
    width: float
    planned_at: float
    rate: float


def _languages(card: Card) -> dict[str, Any]:
    table = card.yields.table("language") if card.yields else {}
    counts = {name: row["kept"] for name, row in table.items()} if table else dict(card.description.languages)
    total = sum(counts.values()) or 1
    shares = card.shares or {}
    names = sorted(set(counts) | set(shares), key=lambda name: (-counts.get(name, 0), -shares.get(name, 0), name))
    longest = max(
        [counts.get(name, 0) / total for name in names] + [shares.get(name, 0.0) for name in names], default=1
    )
    # Areas rather than lengths would hide the small ones; a root keeps 0.2 beside 43 per cent in sight.
    lines = []
    for name in names:
        asked, kept = table.get(name, {}).get("asked", 0), counts.get(name, 0)
        share, planned = kept / total, shares.get(name, 0.0)
        lines.append(
            LanguageLine(
                name,
                asked,
                kept,
                share,
                planned,
                100 * math.sqrt(share / longest) if longest else 0,
                100 * math.sqrt(planned / longest) if longest else 0,
                kept / asked if asked else 0.0,
            )
        )
    return {
        "shown": lines[:SHOWN_LANGUAGES],
        "others": lines[SHOWN_LANGUAGES:],
        "count": len({name for name in names if counts.get(name)} | card.description.targets),
    }


def _bars(counts: Mapping[str, int]) -> list[tuple[str, int, float]]:
    most = max(counts.values(), default=0) or 1
    return [(name, count, 100 * count / most) for name, count in counts.items()]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a histogram in a box of 100 x 100: where, how wide, how high, and what it counts."""

    x: float
    width: float
    height: float
    label: str
    count: int


def _histogram(classes: Mapping[int, int]) -> list[Column]:
    if not classes:
        return []
    first, last = min(classes), max(classes)
    most = max(classes.values())
    width = 100 / (last - first + 1)
    return [
        Column(
            (at - first) * width + width * 0.08,
            width * 0.84,
            100 * classes.get(at, 0) / most,
            str(STEPS[at]),
            classes.get(at, 0),
        )
        for at in range(first, last + 1)
    ]


@dataclass(frozen=True, slots=True)
class Sample:
    """A row as the card shows it: tags, and its texts with their names."""

    tags: tuple[str, ...]
    texts: tuple[tuple[str, str], ...]


def _sample(row: Example) -> Sample:
    language = f"{row.language} to {row.target_language}" if row.target_language else row.language
    texts = [("Instruction", row.instruction), ("Query", row.query)]
    texts += [("Positive", text) for text in row.positives[:2]] + [("Negative", text) for text in row.negatives[:2]]
    return Sample(tuple(filter(None, (row.family, language, row.source))), tuple(texts))


def _table(columns: Sequence[Column], name: str) -> str:
    """A histogram as a table of Markdown."""
    rows = (["words from", *(one.label for one in columns)], ["---", *("---:" for _ in columns)])
    counts = [name, *(f"{one.count:,}" for one in columns)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (*rows, counts))


def _cell(text: str) -> str:
    """Text for a cell or a line of Markdown: one line, with what Markdown or HTML would read as markup escaped."""
    return re.sub(r"([\\`*_{}\[\]<>|#~!])", r"\\\1", " ".join(text.split()))


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.0995 or share == 0 else f"{100 * share:.1f} %"


FILTERS: Mapping[str, Callable[..., str]] = {"cell": _cell, "percent": _percent, "table": _table}
"""What the templates write texts and numbers with."""
