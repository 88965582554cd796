"""Other words for the same instruction, and how far a figure moves with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from embedloom.evals.intervals import Estimate
from embedloom.evals.result import SetResult, paired_difference

PARAPHRASES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "scifact*",
        (
            "Find abstracts that confirm or contradict the scientific claim",
            "Given a statement from science, retrieve papers with evidence for or against it",
            "Retrieve scientific documents that help to verify the claim",
        ),
    ),
    (
        "xquad*",
        (
            "Find the passage that holds the answer to the question",
            "Given a question, retrieve the paragraph from which it can be answered",
            "Retrieve text that answers the query",
        ),
    ),
    (
        "nfcorpus*",
        (
            "Find documents that answer the question about health",
            "Given a question on nutrition or medicine, retrieve articles that answer it",
            "Retrieve medical texts that are relevant to the query",
        ),
    ),
    (
        "python-docs*",
        (
            "Find the documentation of the Python object that is summed up",
            "Given what a function or class does, retrieve its docstring",
            "Retrieve the Python documentation that fits the summary",
        ),
    ),
    (
        "known-item*",
        (
            "Find the text that has this title or summary",
            "Given a title, retrieve the text that it belongs to",
            "Retrieve the text that is described",
        ),
    ),
    (
        "sib200*",
        (
            "Tell the topic of the sentence",
            "Given a sentence, classify it by its subject",
            "Identify which topic the sentence is about",
        ),
    ),
    (
        "trec-question*",
        (
            "Tell what kind of thing the question asks for",
            "Given a question, classify it by the type of its answer",
            "Identify the type of answer that the question expects",
        ),
    ),
)
"""(pattern of the set's name, other words for its instruction); the first that fits counts."""

DEFAULTS: dict[str, tuple[str, ...]] = {
    "retrieval": (
        "Find passages that answer the query",
        "Given a query of a search engine, retrieve relevant passages",
        "Retrieve text that is relevant to the query",
    ),
    "sts": (
        "Find text that means the same.",
        "Given a text, retrieve texts of similar meaning.",
        "Represent the text so that texts of similar meaning are found.",
    ),
    "bitext": (
        "Find the translation of the sentence.",
        "Given a sentence, retrieve its translation.",
        "Retrieve sentences that say the same in another language.",
    ),
    "classification": (
        "Tell the class of the text",
        "Given a text, classify it",
        "Identify the category of the text",
    ),
    "clustering": (
        "Tell the topic of the text",
        "Given a text, find the group that it belongs to",
        "Identify the main topic of the text",
    ),
}
"""What a set gets that no pattern names, by family."""
SAME = {"reranking": "retrieval", "pair-classification": "sts"}
"""Families that have the words of another."""


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """How far a set's main figure moves with the words of its instruction.

    `difference` is best - worst with its paired interval: when that holds 0, the words do not matter to this set. The
    best and the worst were chosen by the same items, so that it is the most that the words can be said to do.
    """

    task: str
    metric: str
    instructions: int
    own: float
    worst: SetResult
    best: SetResult
    difference: Estimate


def paraphrases_of(task: str, family: str) -> tuple[str, ...]:
    """Other words for the instruction of a set; the table's own is not among them."""
    fitting = (words for pattern, words in PARAPHRASES if fnmatchcase(task.lower(), pattern))
    return next(fitting, DEFAULTS[SAME.get(family, family)])


def sensitivity(results: Sequence[SetResult]) -> Sensitivity:
    """The spread of one set's results under several instructions, its own first."""
    ordered = sorted(results, key=lambda result: result.main.estimate.value)
    worst, best = ordered[0], ordered[-1]
    return Sensitivity(
        task=results[0].task,
        metric=results[0].main.name,
        instructions=len(results),
        own=results[0].main.estimate.value,
        worst=worst,
        best=best,
        difference=paired_difference(best, worst),
    )
