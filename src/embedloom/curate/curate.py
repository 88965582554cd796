"""The stages of curation one after the other, cheap ones first: rules, duplicates, round trip."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from embedloom.curate.duplicates import THRESHOLD, drop_duplicates
from embedloom.curate.round_trip import round_trip
from embedloom.curate.rules import apply_rules
from embedloom.records import Example, Progress, Reject, Retriever

Stage = Callable[[Iterable[Example]], Iterator[Example | Reject]]


def curate(
    examples: Iterable[Example],
    *,
    near_duplicate: float = THRESHOLD,
    retriever: Retriever | None = None,
    k: int = 20,
    progress: Progress | None = None,
) -> Iterator[Example | Reject]:
    """Sound examples in their order, and a `Reject` for every other one. Each example comes back exactly once.

    Args:
        examples: parsed examples.
        near_duplicate: Jaccard similarity from which two texts are near duplicates; above 1 keeps them.
        retriever: search over the corpus of the grounded passages; without one there is no round trip.
        k: depth of the round trip.
        progress: called with the number of examples that the round trip judged.
    """
    stages: list[Stage] = [apply_rules, lambda rows: drop_duplicates(rows, threshold=near_duplicate)]
    if retriever is not None:
        found = retriever
        stages.append(lambda rows: round_trip(rows, found, k, progress=progress))
    stream: Iterator[Example | Reject] = iter(examples)
    for stage in stages:
        stream = _then(stream, stage)
    return stream


def _then(stream: Iterator[Example | Reject], stage: Stage) -> Iterator[Example | Reject]:
    """Runs the examples of a stream through a stage; rejects of earlier stages pass by."""
    passing: deque[Reject] = deque()

    def examples() -> Iterator[Example]:
        for result in stream:
            if isinstance(result, Reject):
                passing.append(result)
            else:
                yield result

    for result in stage(examples()):
        while passing:
            yield passing.popleft()
        yield result
    yield from passing
