"""Training rows that nobody labelled: a text and itself, a title and its text, a passage and the next one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from embedloom.data.known_item import Item
from embedloom.data.words import normalised
from embedloom.records import Example

INSTRUCTIONS = {
    "same-text": "Retrieve semantically similar text.",
    "title-body": "Given the title or summary of a text, retrieve the text",
    "neighbours": "Given a passage, retrieve a passage from the same text",
}
"""For rows of a kind whose source gives none."""


def same_text(texts: Iterable[str], *, instruction: str = "") -> Iterator[Example]:
    """Each text, once, as the positive of itself: what differs is what dropout leaves (unsupervised SimCSE)."""
    seen: set[str] = set()
    for text in texts:
        key = normalised(text)
        if key and key not in seen:
            seen.add(key)
            yield _row("same-text", text, text, instruction)


def title_body(items: Iterable[Item], *, instruction: str = "") -> Iterator[Example]:
    """Title or summary and the rest of each text (as E5's pairs of posts, articles and papers); titles alone are not
    taken."""
    for item in items:
        if item.summary.strip() and item.rest.strip():
            yield _row("title-body", item.summary, item.rest, instruction)


def neighbours(items: Iterable[Item], *, instruction: str = "") -> Iterator[Example]:
    """Each text with the next of its group (a file, a module), as neighbouring passages are."""
    for first, second in pairwise(items):
        if first.group == second.group and normalised(first.rest) != normalised(second.rest):
            yield _row("neighbours", first.rest, second.rest, instruction)


def _row(kind: str, query: str, positive: str, instruction: str) -> Example:
    return Example(instruction or INSTRUCTIONS[kind], query, (positive,), source=kind)
