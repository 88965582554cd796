"""Rows of a file checked and fingerprinted a portion at a time, by this process or by several."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embedloom.curate.checks import Checks
from embedloom.curate.duplicates import Fingerprints, fingerprints_of, identity, written_shingles
from embedloom.data.lines import Portion, portions, read_portion
from embedloom.errors import DataError, RunError
from embedloom.records import Example, Reject, from_json
from embedloom.workers import Processes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIZE = 4 << 20
"""Bytes of a portion: a few thousand rows, some seconds of work."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What is known of a portion's rows.

    Attributes:
        count: of rows.
        faults: {place in the portion: why the row goes}.
        fingerprints: of the others, in their order.
    """

    count: int
    faults: Mapping[int, Reject]
    fingerprints: Fingerprints


def judged_portions(path: Path, checks: Checks, near_duplicate: float, *, processes: int = 1) -> Iterator[Judged]:
    """The portions of a file in their order; at most two for each process are under way.

    Raises:
        DataError: a line that is no example; names file and line.
    """
    cut = portions(path, SIZE)
    if processes <= 1 or path.stat().st_size <= SIZE:
        yield from (judge(path, portion, checks, near_duplicate) for portion in cut)
        return
    with Processes(processes) as pool:
        waiting: deque[Future[Judged]] = deque()
        try:
            for portion in cut:
                waiting.append(pool.submit(judge, path, portion, checks, near_duplicate))
                if len(waiting) > 2 * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise RunError(
                "a process that checks rows was killed, perhaps for want of memory; set curate.processes=1"
            ) from None
        finally:
            for future in waiting:
                future.cancel()


def judge(path: Path, portion: Portion, checks: Checks, near_duplicate: float) -> Judged:
    """Checks and fingerprints the rows of one portion."""
    faults: dict[int, Reject] = {}
    sound: list[tuple[str, int, NDArray[np.uint32]]] = []
    count = 0
    for number, line in read_portion(path, portion):
        try:
            example = from_json(Example, json.loads(line))
        except DataError as error:
            raise DataError(str(error), path, number) from None
        except (ValueError, RecursionError):
            raise DataError("not valid JSON", path, number) from None
        fault = checks.fault(example)
        if fault is None:
            sound.append((example.id, identity(example), written_shingles(example)))
        else:
            faults[count] = fault
        count += 1
    return Judged(count, faults, fingerprints_of(sound, near_duplicate))
