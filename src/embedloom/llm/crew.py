"""Prompts in, replies out, many at once: a thread with an event loop, and a place for each request.

A prompt holds its place from being asked until its reply was taken, written and the next group asked for. A kill
therefore loses at most as many replies as there are places.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any, Generic, TypeVar

A = TypeVar("A")
B = TypeVar("B")

GROUP = 64
"""Results handed over together at most."""

Work = Callable[[A], Coroutine[Any, Any, B]]


class StopAsking(Exception):  # noqa: N818 - no error: what is in flight is finished, nothing more is begun
    """Raised by the work: nothing is left to do for this item and the following ones."""


class Crew(Generic[A, B]):
    """Does one piece of asynchronous work for each item, so many at once, in a thread of its own.

    Args:
        items: read in that thread.
        places: items between being begun and being saved, at most.
        working: called with the running loop's `Work`-giving context: everything that the work shares lives inside.
    """

    def __init__(self, items: Iterator[A], places: int, working: Callable[[], Any]) -> None:
        self._items, self._count, self._working = items, places, working
        self._results: queue.SimpleQueue[B | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._started = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="embedloom-crew", daemon=True)

    def groups(self) -> Iterator[list[B]]:
        """Results as they come. A group's places are free when the next group is asked for.

        Raises:
            Exception: what an item or its work raised, behind the results that were there.
        """
        self._thread.start()
        self._started.wait()
        try:
            while group := self._take():
                yield group
                self._call(self._free, len(group))
        finally:
            self._call(self._cancel)
            self._thread.join()

    def _take(self) -> list[B]:
        group: list[B] = []
        while (found := self._results.get()) is not None:
            group.append(found)
            if len(group) >= GROUP or self._results.empty():
                return group
        if group:
            self._results.put(None)
        elif self._error is not None:
            raise self._error
        return group

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Runs a function in the loop, unless that has ended."""
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(function, *arguments)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _free(self, count: int) -> None:
        for _ in range(count):
            self._places.release()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            self._error = error
        finally:
            self._started.set()
            self._results.put(None)

    async def _main(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._places = asyncio.Semaphore(self._count)
        self._started.set()
        async with self._working() as work:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(self._count):
                        group.create_task(self._member(work))
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from None

    async def _member(self, work: Work[A, B]) -> None:
        while True:
            await self._places.acquire()
            item = None if self._stopping else next(self._items, None)
            if item is None:
                self._end()
                return
            try:
                self._results.put(await work(item))
            except StopAsking:
                self._end()
                return

    def _end(self) -> None:
        """Members that wait for a place, which may never come, are let through to see that nothing is left."""
        self._stopping = True
        self._places.release()
