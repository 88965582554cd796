"""Trainings from several seeds at once, each in a process with its share of this machine's cores.

Small models don't keep several cores busy: two trainings on a core each do more steps than one on both. A process
leaves state and log, as a training does that is interrupted behind its last step; whoever started it goes on there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool

from embedloom.errors import EmbedloomError, RunError
from embedloom.workers import Processes, end_with_starter, threads_of_each


def side_by_side(training: Callable[[int], object], numbers: Sequence[int]) -> None:
    """Does the trainings of these numbers, all at once.

    Args:
        training: does one; a function of a module, or a `functools.partial` of one.
        numbers: each is for one process.

    Raises:
        EmbedloomError: what one of them couldn't do.
        RunError: a process was killed.
    """
    with Processes(len(numbers), initializer=_take_share, initargs=(len(numbers),)) as pool:
        try:
            faults = list(pool.map(_fault_of, [training] * len(numbers), numbers))
        except BrokenProcessPool:
            raise RunError(
                "the process of a training was killed, perhaps for want of memory; started again, the run goes on "
                "from the last states (train.save_every)"
            ) from None
    for fault in filter(None, faults):
        raise EmbedloomError(fault)


def _fault_of(training: Callable[[int], object], number: int) -> str:
    """Does one; what went wrong is told as text, since not every error can be sent."""
    try:
        training(number)
    except EmbedloomError as error:
        return str(error)
    return ""


def _take_share(processes: int) -> None:
    import torch

    end_with_starter()
    torch.set_num_threads(min(torch.get_num_threads(), threads_of_each(processes)))
