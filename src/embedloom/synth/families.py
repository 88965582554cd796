"""The task families as data: what the LLM returns, what is drawn afresh for every example, what becomes of a reply.

Keys, blanks and value lists are the paper's (section 2). `grounded` is a query written for a real passage;
`grounded-sts` is a real sentence out of a passage, with a text close to it and one further away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from embedloom.errors import RecipeError
from embedloom.records import CLASSIFICATION

CLARITY = ("clear", "understandable with some effort", "ambiguous")
DIFFICULTY = ("high school", "college", "PhD")
QUERY_TYPE = ("extremely long-tail", "long-tail", "common")
QUERY_LENGTH = ("less than 5 words", "5 to 15 words", "at least 10 words")
UNIT = ("sentence", "phrase", "passage")
HIGH_SCORE = ("4", "4.5", "5")


@dataclass(frozen=True, slots=True)
class Family:
    """A family of tasks.

    Attributes:
        keys: what a reply holds.
        query: the key whose value is the query; empty if a sentence of the prompt's passage is the query.
        positive: the key of the positive; empty if the prompt's own passage is the positive.
        negative: the key of the hard negative; empty if there is none.
        blanks: name to the values that are drawn with equal chance.
        instruction: the fixed instruction of a family without tasks; empty if tasks are brainstormed or given.
        reply_words: how long the written texts may be together, where no blank `num_words` says so.
        label: whether the positive is a label, which must not stand in the query.
    """

    name: str
    keys: tuple[str, ...]
    query: str
    positive: str
    negative: str = ""
    blanks: tuple[tuple[str, tuple[str, ...]], ...] = ()
    instruction: str = ""
    reply_words: int = 120
    label: bool = False
    bilingual: bool = False

    @property
    def has_tasks(self) -> bool:
        """Whether step 1 asks for a pool of tasks."""
        return not self.instruction

    @property
    def grounded(self) -> bool:
        """Whether a real passage is one side of the example."""
        return not self.query or not self.positive

    @property
    def blank_names(self) -> frozenset[str]:
        """Every blank that a template of this family may have."""
        names = {name for name, _ in self.blanks}
        names |= {"source_language", "target_language"} if self.bilingual else {"language"}
        names |= {"task"} if self.has_tasks else set()
        names |= {"passage"} if self.grounded else set()
        names |= {"passage_name", "query_name"} if self.grounded and self.has_tasks else set()
        return frozenset(names)


_FAMILIES = (
    Family(
        "short-long",
        keys=("user_query", "positive_document", "hard_negative_document"),
        query="user_query",
        positive="positive_document",
        negative="hard_negative_document",
        blanks=(
            ("query_type", QUERY_TYPE),
            ("query_length", QUERY_LENGTH),
            ("clarity", CLARITY),
            ("num_words", ("50", "100", "200", "300", "400", "500")),
            ("difficulty", DIFFICULTY),
        ),
    ),
    Family(
        CLASSIFICATION,
        keys=("input_text", "label", "misleading_label"),
        query="input_text",
        positive="label",
        negative="misleading_label",
        blanks=(
            ("num_words", ("less than 10", "at least 10", "at least 50", "at least 100", "at least 200")),
            ("difficulty", DIFFICULTY),
            ("clarity", CLARITY),
        ),
        label=True,
    ),
    Family("short-short", keys=("input", "positive_document"), query="input", positive="positive_document"),
    Family(
        "long-long",
        keys=("input", "positive_document"),
        query="input",
        positive="positive_document",
        reply_words=900,
    ),
    Family(
        "sts",
        keys=("S1", "S2", "S3"),
        query="S1",
        positive="S2",
        negative="S3",
        blanks=(
            ("unit", UNIT),
            ("high_score", HIGH_SCORE),
            ("low_score", ("2.5", "3", "3.5")),
            ("difficulty", ("elementary school", "high school", "college")),
        ),
        instruction="Retrieve semantically similar text.",
        reply_words=300,
    ),
    Family(
        "bitext",
        keys=("S1", "S2", "S3"),
        query="S1",
        positive="S2",
        negative="S3",
        blanks=(
            ("unit", UNIT),
            ("high_score", HIGH_SCORE),
            ("low_score", ("1.5", "2", "2.5")),
            ("difficulty", ("elementary school", "high school", "college")),
        ),
        instruction="Retrieve parallel sentences.",
        reply_words=300,
        bilingual=True,
    ),
    Family(
        "grounded",
        keys=("user_query",),
        query="user_query",
        positive="",
        blanks=(
            ("query_type", QUERY_TYPE),
            ("query_length", QUERY_LENGTH),
            ("clarity", CLARITY),
            ("difficulty", DIFFICULTY),
        ),
        reply_words=24,
    ),
    Family(
        "grounded-sts",
        keys=("S2", "S3"),
        query="",
        positive="S2",
        negative="S3",
        blanks=(("high_score", HIGH_SCORE), ("low_score", ("2.5", "3", "3.5"))),
        instruction="Retrieve semantically similar text.",
        reply_words=120,
    ),
)
FAMILY: Mapping[str, Family] = {family.name: family for family in _FAMILIES}

PAPER_SHARES: Mapping[str, float] = {
    "short-long": 167,
    CLASSIFICATION: 122,
    "sts": 99,
    "bitext": 89,
    "long-long": 17,
    "short-short": 13,
}
"""Thousands of examples by family, of 500 (paper section 2; the parts are rounded there and sum to 507)."""


def family(name: str) -> Family:
    """The family of that name.

    Raises:
        RecipeError: there is no such family.
    """
    if name not in FAMILY:
        raise RecipeError(f"unknown family {name!r}; there are {', '.join(FAMILY)}")
    return FAMILY[name]
