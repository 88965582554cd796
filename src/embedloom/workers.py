"""Processes that do a share of the work on one machine: their cores, and their end."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any


class Processes(ProcessPoolExecutor):
    """A pool of processes started afresh; when one was killed, that is always told by `BrokenProcessPool`.

    A fork would inherit the threads and locks of whatever this process has loaded. The standard pool closes its pipes
    once a process has died, and finds them closed itself if it is about to start another: then `submit` raises an
    OSError without a number.

    Args:
        count: of processes.
        initializer: called in each at its start, with the values `initargs`.
    """

    def __init__(
        self, count: int, *, initializer: Callable[..., object] | None = None, initargs: tuple[Any, ...] = ()
    ) -> None:
        super().__init__(count, mp_context=get_context("spawn"), initializer=initializer, initargs=initargs)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Has one of them call the function."""
        try:
            return super().submit(fn, *args, **kwargs)
        except OSError as error:
            if error.errno is not None:
                raise
            raise BrokenProcessPool("a process ended while another was being started") from None

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Ends the processes, at once if one of them was killed."""
        if self._broken:
            # By itself the pool ends all but one that was just being started, and waits for that for ever.
            for process in list((self._processes or {}).values()):
                process.kill()
        super().shutdown(wait, cancel_futures=cancel_futures)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory(cgroup: Path = Path("/proc/self/cgroup"), limits: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes of memory that this process may use: the machine's, or less where its container is allowed less.

    Args:
        cgroup: file that names the process' control groups.
        limits: folder with the groups' limits.
    """
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    lines = cgroup.read_text(encoding="utf-8").splitlines() if cgroup.is_file() else []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if not controllers:
            top, name = limits, "memory.max"
        elif controllers == "memory":
            top, name = limits / "memory", "memory.limit_in_bytes"
        else:
            continue
        # A group is bound by those above it, too. Inside a container its own stands at the top.
        group = top / path.strip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(top) and (folder / name).is_file():
                said = (folder / name).read_text(encoding="ascii").strip()
                found += [int(said)] if said.isdigit() else []
    return min(found)


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
