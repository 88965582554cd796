"""Processes that do a share of the work on one machine: their cores, and their end."""

from __future__ import annotations

import os
import threading
from multiprocessing import parent_process
from typing import Any


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_of_each(processes: int) -> int:
    """How many threads each of several processes has a core for, at least one."""
    return max(1, cores() // processes)


def end_with_starter() -> None:
    """Lets this process end with the one that started it, which can't say so if it was killed."""
    starter = parent_process()
    assert starter is not None
    threading.Thread(target=_end_with, args=(starter,), daemon=True).start()


def _end_with(process: Any) -> None:
    process.join()
    os._exit(1)
