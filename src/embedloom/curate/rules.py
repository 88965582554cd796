"""Rules that one example passes or fails by itself. Each gives the detail that shows why it failed, or nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from embedloom.curate.language import RELATED
from embedloom.curate.texts import hashes_of, normalised, words_of
from embedloom.data.words import unspaced_share_of
from embedloom.records import CLASSIFICATION, Example

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
    CLASSIFICATION: Limits(query=(3, 2000), document=(1, 30)),
    "short-short": Limits(query=(1, 100), document=(1, 150)),
    "long-long": Limits(query=(20, 3000), document=(20, 3000)),
    "sts": Limits(query=(1, 600), document=(1, 600)),
    "bitext": Limits(query=(1, 600), document=(1, 600)),
    "grounded": Limits(query=(3, 60), document=(8, 100_000)),
    "grounded-sts": Limits(query=(1, 600), document=(1, 600)),
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

LENGTH_RATIO = 4.0
"""Times that a translation may be longer or shorter than its source. Of Tatoeba's 88,877 pairs 20 are beyond."""

RATIO_LETTERS = 24
"""Both texts shorter than this may have any ratio."""

_PLACEHOLDER = re.compile(
    r"\{\{|\}\}|lorem ipsum|\[(?:your|insert|name|topic|placeholder|query|document|text)[^\]]*\]"
    r"|<(?:your|insert|query|document|text|placeholder)[^>]*>"
    r"|\b(?:user_query|positive_document|hard_negative_document|misleading_label|input_text)\b"
    r"|\bas an ai (?:language )?model\b|\bi(?:'m| am) sorry, (?:but )?i can(?:'t|not)\b",
    re.IGNORECASE,
)
_PLACEHOLDER_MARKS = ("{{", "}}", "lorem", "[", "<", "_", "language model", "ai model", "sorry")
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
        count = len(words_of(text))
        if not least <= count <= most:
            return f"{name} has {count} words, expected {least} to {most}"
    return ""


def query_copied(example: Example) -> str:
    """The query stands in its document, or nearly all of it does as one run of words: nothing is learned from it."""
    query = words_of(example.query)
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
    if example.family != CLASSIFICATION:
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
        if example.family != CLASSIFICATION and any(f" {positive} " in f" {negative} " for positive in positives):
            return "a negative contains a positive"
    return ""


def degenerate(example: Example) -> str:
    """A text that a language model fell into a loop over: one letter, word or phrase again and again."""
    for text in _written(example):
        if match := _SAME_CHARACTER.search(text):
            return f"{match.group(1)!r} repeated"
        found = words_of(text)
        hashes = hashes_of(text)
        again = bytes(hashes[1:] == hashes[:-1])
        if b"\x01" * (SAME_WORD - 1) in again:
            return f"a word {SAME_WORD} times in a row"
        runs = list(zip(found, found[1:], found[2:], strict=False))
        if len(runs) >= 12 and len(set(runs)) < 0.6 * len(runs):
            return f"{len(set(runs))} distinct runs of three words of {len(runs)}"
    return ""


def placeholder(example: Example) -> str:
    """Text of the template instead of text of its own, or a refusal."""
    for text in _written(example):
        folded = text.casefold()
        # The pattern is slow to find nothing; none of its alternatives is without one of these.
        if any(mark in folded for mark in _PLACEHOLDER_MARKS) and (match := _PLACEHOLDER.search(text)):
            return match.group()[:80]
    return ""


def points_at_passage(example: Example) -> str:
    """A query for a real passage that speaks of "this passage": nobody who searches has seen it."""
    match = _POINTS_AT_PASSAGE.search(example.query) if example.family == "grounded" else None
    return match.group() if match else ""


def bitext_copied(example: Example) -> str:
    """The translation holds nearly the words of its source: nothing was translated."""
    if example.family != "bitext" or example.target_language in RELATED.get(example.language, ()):
        return ""
    source = set(words_of(example.query))
    for text in example.positives:
        target = set(words_of(text))
        shared = len(source & target)
        if shared >= COPY_WORDS and shared >= COPY_SHARE * min(len(source), len(target)):
            return f"{shared} of {min(len(source), len(target))} words are those of the source"
    return ""


def bitext_length(example: Example) -> str:
    """A translation that is many times as long as its source, or as short: something was added or left out."""
    if example.family != "bitext":
        return ""
    source = _weight(example.query)
    for text in example.positives:
        target = _weight(text)
        if max(source, target) >= RATIO_LETTERS and not 1 / LENGTH_RATIO <= target / source <= LENGTH_RATIO:
            return f"lengths {source} and {target}, more than {LENGTH_RATIO:g} times apart"
    return ""


def sts_order(example: Example) -> str:
    """The text that should be further away can't be: it has the very words of the first, or the higher score."""
    if example.family not in ("sts", "grounded-sts"):
        return ""
    high, low = example.high_score, example.low_score
    if high is not None and low is not None and low >= high:
        return f"the scores are {high:g} and {low:g}"
    query = sorted(words_of(example.query))
    positives = {normalised(text) for text in example.positives}
    for text in example.negatives:
        if sorted(words_of(text)) == query and not any(sorted(words_of(one)) == query for one in example.positives):
            return "the further text has the same words as the first"
        if normalised(text).replace(" ", "") in {positive.replace(" ", "") for positive in positives}:
            return "both texts are the same"
    return ""


RULES: Mapping[str, Rule] = {
    "length": length,
    "placeholder": placeholder,
    "degenerate": degenerate,
    "query-copied": query_copied,
    "label-in-text": label_in_text,
    "negative-is-positive": negative_is_positive,
    "points-at-passage": points_at_passage,
    "bitext-copied": bitext_copied,
    "bitext-length": bitext_length,
    "sts-order": sts_order,
}


def _weight(text: str) -> int:
    """Length of a text in letters, at least 1; a letter of a script without spaces counts as three."""
    found = words_of(text)
    return max(1, sum(map(len, found)) + round(2 * len(found) * unspaced_share_of(found)))


def _written(example: Example) -> Iterator[str]:
    """What the language model wrote: not the real text of a grounded example."""
    if example.family != "grounded-sts":
        yield example.query
    if example.family != "grounded":
        yield from example.positives
    yield from example.negatives
