"""Training rows about like things side by side: the other rows of a batch are then hard negatives that cost nothing.

In-batch negatives drawn at random are soon told apart; those of a neighbourhood are not (topic-aware batches: TAS-B,
Hofstatter et al. 2021).
"""

from __future__ import annotations

from collections.abc import Sequence

from embedloom.data.lexical import BM25
from embedloom.records import Document, Example

NEAREST = 64
"""Neighbours that are looked for; an epoch's order takes the nearest that are not placed yet."""


def nearest_rows(examples: Sequence[Example], depth: int = NEAREST) -> list[list[int]]:
    """For each row the `depth` other rows whose first positives are nearest to its own by BM25, nearest first.

    Rows that share no word with any other have none. Time grows with the square of the rows.
    """
    width = len(str(len(examples)))
    documents = [Document(f"{row:0{width}}", example.positives[0]) for row, example in enumerate(examples)]
    hits = BM25(documents).search([document.text for document in documents], depth + 1)
    return [
        [other for other in (int(hit.document_id) for hit in found) if other != row][:depth]
        for row, found in enumerate(hits)
    ]


def side_by_side(order: Sequence[int], nearest: Sequence[Sequence[int]], size: int) -> list[int]:
    """The rows of `order` in blocks of `size` neighbours.

    A block is the first row of `order` that is not placed yet and its nearest rows that are not; where fewer are left
    the block is shorter.
    """
    placed: set[int] = set()
    present = set(order)
    found: list[int] = []
    for row in order:
        if row in placed:
            continue
        block = [row, *(other for other in nearest[row] if other not in placed and other in present and other != row)]
        block = block[:size]
        placed.update(block)
        found.extend(block)
    return found
