"""Known-item search from real text: the query is what a text says of itself, the document is the rest of that text.

Any text with titles or summaries gives a retrieval test this way without one human judgement. Groups (a module, a file)
are whole in training or in evaluation, so that a model isn't scored on neighbours of what it was trained on.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from embedloom.data.beir import RetrievalSet
from embedloom.data.words import normalised
from embedloom.errors import DataError
from embedloom.records import Document


@dataclass(frozen=True, slots=True)
class Item:
    """A text in two parts: `summary` stands for the query, `rest` is the document. `group` is never split."""

    id: str
    group: str
    summary: str
    rest: str


def clean_items(items: Iterable[Item]) -> list[Item]:
    """Items in their order without those that make no test: a rest seen before, or one that quotes its own summary."""
    kept: list[Item] = []
    seen: set[str] = set()
    for item in items:
        rest = normalised(item.rest)
        if rest in seen or f" {normalised(item.summary)} " in f" {rest} ":
            continue
        seen.add(rest)
        kept.append(item)
    return kept


def split_groups(items: Sequence[Item], share: float, seed: int) -> tuple[list[Item], list[Item]]:
    """Training and evaluation items with no group in both; about `share` of the items are for evaluation.

    Groups are taken for evaluation in the order of a hash of (seed, group) as long as they fit.

    Raises:
        DataError: `share` isn't between 0 and 1, or there are fewer than two groups.
    """
    if not 0 < share < 1:
        raise DataError(f"share of evaluation items must lie between 0 and 1, got {share}")
    sizes = Counter(item.group for item in items)
    if len(sizes) < 2:
        told = f"{len(sizes)} text is long enough" if sizes else "no text is long enough"
        raise DataError(f"{told}, and two are needed, one of them to measure with; give more or longer texts")
    chosen: set[str] = set()
    taken, target = 0, share * len(items)
    order = sorted(sizes, key=lambda group: hashlib.blake2b(f"{seed}:{group}".encode()).digest())
    for group in order:
        if taken + sizes[group] <= target:
            chosen.add(group)
            taken += sizes[group]
    if not chosen:
        chosen.add(min(order, key=lambda group: sizes[group]))
    train = [item for item in items if item.group not in chosen]
    return train, [item for item in items if item.group in chosen]


def known_item_set(
    items: Sequence[Item], evaluation: Sequence[Item], *, name: str = "known-item", split: str = "test"
) -> RetrievalSet:
    """The retrieval test: summaries of `evaluation` ask for their rest among the rests of all `items`.

    A summary that several items share has no single answer and is left out of the queries; its documents stay.

    Raises:
        DataError: no query is left.
    """
    shared = Counter(normalised(item.summary) for item in items)
    asked = [item for item in evaluation if shared[normalised(item.summary)] == 1]
    if not asked:
        raise DataError("no text is left to evaluate on: every summary or title stands over several texts")
    return RetrievalSet(
        name=name,
        split=split,
        corpus=tuple(passages(items)),
        queries={item.id: item.summary for item in asked},
        qrels={item.id: {item.id: 1} for item in asked},
    )


def passages(items: Iterable[Item]) -> list[Document]:
    """The rests as documents. For training data give training items alone."""
    return [Document(id=item.id, text=item.rest) for item in items]
