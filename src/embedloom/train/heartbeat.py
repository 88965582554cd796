"""Processes of one training hear each other's hearts: one that is gone or frozen ends the others within a known time.

A collective operation waits for every process. Where one was killed, gloo notices the lost connection, NCCL does not,
and nothing notices a process that stands still. So each process has a thread that counts in the store that all of them
reach; the first process listens to all, the others to the first.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

LOST = "heart/lost"
LEFT = b"left"


class Heartbeat:
    """The thread of one process."""

    def __init__(self, store: Store, rank: int, count: int, *, silence: float, end: Callable[[str], None]) -> None:
        """Starts to beat and to listen.

        Args:
            store: a connection of its own: a client of the store is used by one thread at a time.
            rank: this process.
            count: how many there are.
            silence: seconds without a beat after which a process counts as gone.
            end: called in this thread, once, with what happened; ends the process.
        """
        self._store, self._rank, self._count, self._silence, self._end = store, rank, count, silence, end
        self._pulse = min(5.0, silence / 8)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Takes leave: the others don't miss this process any more. The first one, whose store it is, is the last."""
        self._stopped.set()
        self._thread.join()
        with contextlib.suppress(RuntimeError):
            self._store.set(_key(self._rank), LEFT.decode())
            until = time.monotonic() + self._silence
            while self._rank == 0 and time.monotonic() < until and not self._all_left():
                time.sleep(0.05)

    def _all_left(self) -> bool:
        keys = [_key(rank) for rank in range(self._count)]
        return all(self._store.check([key]) and self._store.get(key) == LEFT for key in keys)

    def _beat(self) -> None:
        others = [rank for rank in (range(self._count) if self._rank == 0 else [0]) if rank != self._rank]
        heard = dict.fromkeys(others, (b"", time.monotonic()))
        beats = 0
        while True:
            beats += 1
            try:
                self._store.set(_key(self._rank), str(beats))
                lost = self._listen(heard)
            except RuntimeError:
                # The main thread's own operation most likely failed too, and can tell more.
                if not self._stopped.wait(3 * self._pulse):
                    self._end("process 0, or its machine, is gone")
                return
            if lost and not self._stopped.is_set():
                self._end(lost)
                return
            if self._stopped.wait(self._pulse):
                return

    def _listen(self, heard: dict[int, tuple[bytes, float]]) -> str:
        """What is lost, or nothing."""
        if self._rank != 0 and self._store.check([LOST]):
            return self._store.get(LOST).decode()
        now = time.monotonic()
        for rank, (before, since) in heard.items():
            beat = self._store.get(_key(rank)) if self._store.check([_key(rank)]) else b""
            if beat != before:
                heard[rank] = (beat, now)
            elif beat != LEFT and now - since > self._silence:
                lost = f"process {rank} of {self._count} has not been heard of for {self._silence:g} s"
                self._store.set(LOST, lost)
                return lost
        return ""


def _key(rank: int) -> str:
    return f"heart/{rank}"
