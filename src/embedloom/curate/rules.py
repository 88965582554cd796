"""Rules that one example passes or fails by itself. Each gives the detail that shows why it failed, or nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from embedloom.data.words import normalised, words
from embedloom.records import Example, Reject

Rule = Callable[[Example], str]
"""The detail of the fault, or an empty string if the example is sound."""

STAGE = "rules"


@dataclass(frozen=True, slots=True)
class Limits:
    """Words that a query and a positive or negative must and may have; letters count in scripts without spaces."""

    query: tuple[int, int]
    document: tuple[int, int]


LIMITS: Mapping[str, Limits] = {
    "short-long": Limits(query=(1, 80), document=(8, 2000)),
    "long-short": Limits(query=(3, 2000), document=(1, 30)),
    "short-short": Limits(query=(1, 100), document=(1, 150)),
    "long-long": Limits(query=(20, 3000), document=(20, 3000)),
    "sts": Limits(query=(1, 600), document=(1, 600)),
    "bitext": Limits(query=(1, 600), document=(1, 600)),
    "grounded": Limits(query=(3, 60), document=(8, 100_000)),
}
"""Wider than what the prompts ask for: these catch replies that are no answer at all."""

OTHER = Limits(query=(1, 5000), document=(1, 100_000))
"""For rows that no family of ours made."""

COPY_SHARE = 0.8
"""Share of the query that stands in the document as one run of words, from which it is a copy."""

COPY_WORDS = 5
"""A shorter query is a copy only if all of it stands there and it has at least 3 words: names recur by right."""

SAME_WORD = 6
"""So many times the same word in a row is a loop."""

_PLACEHOLDER = re.compile(
    r"\{\{|\}\}|lorem ipsum|\[(?:your|insert|name|topic|placeholder|query|document|text)[^\]]*\]"
    r"|<(?:your|insert|query|document|text|placeholder)[^>]*>"
    r"|\b(?:user_query|positive_document|hard_negative_document|misleading_label|input_text)\b"
    r"|\bas an ai (?:language )?model\b|\bi(?:'m| am) sorry, (?:but )?i can(?:'t|not)\b",
    re.IGNORECASE,
)
_POINTS_AT_PASSAGE = re.compile(
    r"\b(?:this|the (?:above|given|following|provided)) (?:passage|abstract|text|document|article|paragraph|excerpt)\b",
    re.IGNORECASE,
)
_SAME_CHARACTER = re.compile(r"([^\s.\-_=*#~])\1{11,}")


def length(example: Example) -> str:
    """Too few or too many words in the query, a positive or a negative."""
    limits = LIMITS.get(example.family, OTHER)
    texts = [("query", example.query, limits.query)]
    texts += [("positive", text, limits.document) for text in example.positives]
    texts += [("negative", text, limits.document) for text in example.negatives]
    for name, text, (least, most) in texts:
        count = len(words(text))
        if not least <= count <= most:
            return f"{name} has {count} words, expected {least} to {most}"
    return ""


def query_copied(example: Example) -> str:
    """The query stands in its document, or nearly all of it does as one run of words: nothing is learned from it."""
    query = words(example.query)
    copies = example.family in ("short-long", "grounded", "long-long")
    for text in example.positives:
        positive = normalised(text)
        if " ".join(query) == positive:
            return "query and positive are the same"
        if not copies or len(query) < 3:
            continue
        run = math.ceil(COPY_SHARE * len(query)) if len(query) >= COPY_WORDS else len(query)
        for start in range(len(query) - run + 1):
            piece = " ".join(query[start : start + run])
            if f" {piece} " in f" {positive} ":
                return piece[:200]
    return ""


def label_in_text(example: Example) -> str:
    """The label of a classification example stands in its text."""
    if example.family != "long-short":
        return ""
    query = f" {normalised(example.query)} "
    for label in example.positives:
        if (found := normalised(label)) and f" {found} " in query:
            return label[:200]
    return ""


def negative_is_positive(example: Example) -> str:
    """A hard negative equals a positive or the query, or contains a positive."""
    positives = {normalised(text) for text in example.positives}
    for text in example.negatives:
        negative = normalised(text)
        if negative in positives:
            return "a negative equals a positive"
        if negative == normalised(example.query):
            return "a negative equals the query"
        # A label may well stand in another one: "competitive inhibition" in "non-competitive inhibition".
        if example.family != "long-short" and any(f" {positive} " in f" {negative} " for positive in positives):
            return "a negative contains a positive"
    return ""


def degenerate(example: Example) -> str:
    """A text that a language model fell into a loop over: one letter, word or phrase again and again."""
    for text in _written(example):
        if match := _SAME_CHARACTER.search(text):
            return f"{match.group(1)!r} repeated"
        found = words(text)
        if any(len(set(found[at : at + SAME_WORD])) == 1 for at in range(len(found) - SAME_WORD + 1)):
            return f"a word {SAME_WORD} times in a row"
        runs = list(zip(found, found[1:], found[2:], strict=False))
        if len(runs) >= 12 and len(set(runs)) < 0.6 * len(runs):
            return f"{len(set(runs))} distinct runs of three words of {len(runs)}"
    return ""


def placeholder(example: Example) -> str:
    """Text of the template instead of text of its own, or a refusal."""
    for text in _written(example):
        if match := _PLACEHOLDER.search(text):
            return match.group()[:80]
    return ""


def points_at_passage(example: Example) -> str:
    """A query for a real passage that speaks of "this passage": nobody who searches has seen it."""
    match = _POINTS_AT_PASSAGE.search(example.query) if example.family == "grounded" else None
    return match.group() if match else ""


RULES: Mapping[str, Rule] = {
    "length": length,
    "placeholder": placeholder,
    "degenerate": degenerate,
    "query-copied": query_copied,
    "label-in-text": label_in_text,
    "negative-is-positive": negative_is_positive,
    "points-at-passage": points_at_passage,
}


def apply_rules(examples: Iterable[Example], rules: Mapping[str, Rule] = RULES) -> Iterator[Example | Reject]:
    """Each example, or a `Reject` by the first rule that it fails."""
    for example in examples:
        for name, rule in rules.items():
            if detail := rule(example):
                yield Reject(example.id, STAGE, name, detail)
                break
        else:
            yield example


def _written(example: Example) -> Iterator[str]:
    """What the language model wrote: not the real passage of a grounded example."""
    yield example.query
    if example.family != "grounded":
        yield from example.positives
    yield from example.negatives
