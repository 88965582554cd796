"""`embedloom run` started in several processes: the first does every stage, the others take part in the training."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from embedloom.cli.ending import ending_of
from embedloom.cli.progress import notice

if TYPE_CHECKING:
    from embedloom.train.processes import Processes

TRAIN, END, FAILED = "train", "end", "failed"


@contextmanager
def together() -> Iterator[Processes | None]:
    """The processes that a launcher (`torchrun`, `accelerate launch`) started with this one; None for one alone.

    An error ends the process at once: the others hear of it, and what waits for them must not hold it back.
    """
    from embedloom.train.processes import several

    if not several():
        yield None
        return
    from embedloom.train.processes import join

    processes = None
    try:
        processes = join()
        yield processes
    except BaseException as error:
        ending = ending_of(error)
        if ending is None:
            traceback.print_exception(error)
        else:
            notice(ending.sentence)
        if processes is not None and processes.first:
            with suppress(RuntimeError):
                processes.say(FAILED)
        sys.stderr.flush()
        os._exit(1 if ending is None else ending.status)


def wanted(processes: Processes) -> bool:
    """Waits, in every process but the first, until that one trains; False if there is nothing to train.

    Where the first one fails this process ends: what went wrong has been said.
    """
    word = processes.hear()
    if word == FAILED:
        os._exit(2)
    if word == END:
        processes.leave()
    return word == TRAIN
