"""Round trip: a query written for a passage must find that passage again, as in Promptagator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from embedloom.records import Example, Progress, Reject, Retriever

STAGE = "round-trip"
BATCH = 256


def round_trip(
    examples: Iterable[Example], retriever: Retriever, k: int, *, progress: Progress | None = None
) -> Iterator[Example | Reject]:
    """Examples whose passage is among the `k` best documents for their query; else a `Reject` by `not-found-again`.

    Args:
        examples: those without a `passage_id` pass: there is nothing to find.
        retriever: searches the corpus that the passages come from.
        k: how deep to look, at least 1.
        progress: called with the number of examples judged.
    """
    assert k > 0, "k counts documents"
    stream = iter(examples)
    while batch := list(islice(stream, BATCH)):
        asked = [example for example in batch if example.passage_id]
        found = retriever.search([example.query for example in asked], k) if asked else []
        ranks = {example.id: [hit.document_id for hit in hits[:k]] for example, hits in zip(asked, found, strict=True)}
        for example in batch:
            if example.passage_id and example.passage_id not in ranks[example.id]:
                best = ranks[example.id][0] if ranks[example.id] else "nothing"
                detail = f"top {k} without {example.passage_id}; best is {best}"
                yield Reject(example.id, STAGE, "not-found-again", detail)
            else:
                yield example
        if progress is not None:
            progress(len(batch))
