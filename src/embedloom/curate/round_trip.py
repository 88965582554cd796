"""Round trip: a query written for a passage must find that passage again, as in Promptagator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from embedloom.records import Example, Progress, Reject, Retriever

STAGE = "round-trip"
BATCH = 256


def round_trip(
    examples: Iterable[Example], retriever: Retriever, k: int, *, progress: Progress | None = None
) -> Iterator[Example | Reject]:
    """Examples whose passage is among the `k` best documents for their query; else a `Reject` by `not-found-again`.

    Args:
        examples: those that are not asked (`is_asked`) pass.
        retriever: searches the corpus that the passages come from.
        k: how deep to look, at least 1.
        progress: called with the number of examples judged.
    """
    stream = iter(examples)
    while batch := list(islice(stream, BATCH)):
        faults = not_found_again([example for example in batch if is_asked(example)], retriever, k)
        for example in batch:
            yield faults.get(example.id, example)
        if progress is not None:
            progress(len(batch))


def is_asked(example: Example) -> bool:
    """Whether there is a passage to find, and a query that somebody wrote for it."""
    return bool(example.passage_id) and example.family != "grounded-sts"


def not_found_again(examples: Sequence[Example], retriever: Retriever, k: int) -> dict[str, Reject]:
    """{example id: why it goes} of those whose passage was not found, all in one search."""
    assert k > 0, "k counts documents"
    found = retriever.search([example.query for example in examples], k) if examples else []
    faults: dict[str, Reject] = {}
    for example, hits in zip(examples, found, strict=True):
        ranked = [hit.document_id for hit in hits[:k]]
        if example.passage_id not in ranked:
            best = ranked[0] if ranked else "nothing"
            detail = f"top {k} without {example.passage_id}; best is {best}"
            faults[example.id] = Reject(example.id, STAGE, "not-found-again", detail)
    return faults
