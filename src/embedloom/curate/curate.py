"""The stages of curation one after the other, cheap ones first: checks, duplicates, round trip.

`curate` takes examples from memory; `curate_file` reads a file twice, in several processes, and holds none of its rows.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from embedloom.curate.checks import Checks
from embedloom.curate.duplicates import STAGE, THRESHOLD, Duplicates, drop_duplicates
from embedloom.curate.portions import judged_portions
from embedloom.curate.round_trip import is_asked, not_found_again, round_trip
from embedloom.data.lines import read_lines
from embedloom.records import Example, Progress, Reject, Retriever, from_json

Stage = Callable[[Iterable[Example]], Iterator[Example | Reject]]

BLOCK = 1024
"""Rows whose round trip is one search."""


def curate(
    examples: Iterable[Example],
    *,
    checks: Checks | None = None,
    near_duplicate: float = THRESHOLD,
    retriever: Retriever | None = None,
    k: int = 20,
    progress: Progress | None = None,
) -> Iterator[Example | Reject]:
    """Sound examples in their order, and a `Reject` for every other one. Each example comes back exactly once.

    Args:
        examples: parsed examples.
        checks: what an example is held to besides the rules.
        near_duplicate: Jaccard similarity from which two texts are near duplicates; above 1 keeps them.
        retriever: search over the corpus of the grounded passages; without one there is no round trip.
        k: depth of the round trip.
        progress: called with the number of examples that the round trip judged.
    """
    own = checks or Checks()
    stages: list[Stage] = [own.apply, lambda rows: drop_duplicates(rows, threshold=near_duplicate)]
    if retriever is not None:
        found = retriever
        stages.append(lambda rows: round_trip(rows, found, k, progress=progress))
    stream: Iterator[Example | Reject] = iter(examples)
    for stage in stages:
        stream = _then(stream, stage)
    return stream


def curate_file(
    path: Path,
    *,
    checks: Checks | None = None,
    near_duplicate: float = THRESHOLD,
    retriever: Retriever | None = None,
    k: int = 20,
    processes: int = 1,
    progress: Progress | None = None,
) -> Iterator[str | Reject]:
    """As `curate`, for a JSONL file of any size: the lines that stay, as they stand there, and the rejects, in order.

    Memory: about 0.6 kB for each row (id, fingerprint, and the reason of each that goes), and the portions that are
    under way. Shingles lie in a temporary file of about 0.5 kB a row.

    Args:
        path: JSONL of examples, not compressed.
        checks: what an example is held to besides the rules.
        near_duplicate: Jaccard similarity from which two texts are near duplicates; above 1 keeps them.
        retriever: search over the corpus of the grounded passages; without one there is no round trip.
        k: depth of the round trip.
        processes: that check and fingerprint rows; with one, this process does it.
        progress: called with the number of rows checked.

    Raises:
        DataError: no such file, or a line that is no example; names file and line.
    """
    faults: dict[int, Reject] = {}
    count = 0
    with Duplicates(near_duplicate) as search:
        places = array("I")
        for portion in judged_portions(path, checks or Checks(), near_duplicate, processes=processes):
            places.extend(count + at for at in range(portion.count) if at not in portion.faults)
            faults |= {count + at: fault for at, fault in portion.faults.items()}
            search.add(portion.fingerprints)
            count += portion.count
            if progress is not None:
                progress(portion.count)
        for at, (rule, stays) in search.verdicts().items():
            faults[places[at]] = Reject(search.ids[at], STAGE, rule, stays)
    lines = enumerate(line for _, line in read_lines(path))
    while block := list(islice(lines, BLOCK)):
        later = _not_found(block, faults, retriever, k) if retriever is not None else {}
        for at, line in block:
            yield faults.get(at) or later.get(at) or line


def _not_found(
    block: list[tuple[int, str]], faults: dict[int, Reject], retriever: Retriever, k: int
) -> dict[int, Reject]:
    import json

    rows = {at: from_json(Example, json.loads(line)) for at, line in block if at not in faults and "passage_id" in line}
    asked = [example for example in rows.values() if is_asked(example)]
    found = not_found_again(asked, retriever, k)
    return {at: found[example.id] for at, example in rows.items() if example.id in found}


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
