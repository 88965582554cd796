"""Dynamic batching: requests from many threads, one thread that owns the model, each answer to its own request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from embedloom.serve.line import Line, Place, Ticket

if TYPE_CHECKING:
    from embedloom.records import Vectors

R = TypeVar("R")


class QueueFullError(Exception):
    """No room for more rows; `seconds` says about how long the rows that wait will take."""

    def __init__(self, seconds: float) -> None:
        super().__init__("the queue is full")
        self.seconds = seconds


class ClosedError(Exception):
    """The batcher takes no more work."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass of the model, for whoever counts: rows, their tokens without padding, seconds."""

    rows: int
    tokens: int
    seconds: float


class Batcher(Generic[R]):
    """Collects rows of requests into passes of the model.

    Args:
        encode: rows to vectors, shape (rows, dimension); called by one thread only.
        token_budget: rows x longest row of a pass.
        max_rows: of a pass.
        wait: seconds that a row may wait for company when the model is free.
        capacity: rows that may wait; a request with more is taken only by an empty line.
        observe: called by the model's thread after each pass.
    """

    def __init__(
        self,
        encode: Callable[[list[R]], Vectors],
        *,
        token_budget: int,
        max_rows: int = 256,
        wait: float = 0.002,
        capacity: int = 8192,
        observe: Callable[[Pass], None] | None = None,
    ) -> None:
        self._encode = encode
        self._wait = wait
        self._capacity = capacity
        self._observe = observe
        self._line: Line[R] = Line(token_budget=token_budget, max_rows=max_rows)
        self._changed = threading.Condition()
        self._closed = False
        self._seconds_per_token = 0.0
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    @property
    def waiting_rows(self) -> int:
        """Rows that are in no pass yet."""
        return self._line.rows

    @property
    def waiting_requests(self) -> int:
        """Requests with rows that are in no pass yet."""
        return len(self._line)

    @property
    def alive(self) -> bool:
        """Whether it takes work."""
        return self._thread.is_alive() and not self._closed

    def check_room(self, rows: int) -> None:
        """Raises `QueueFullError` if that many rows have no room now."""
        if self._line.rows and self._line.rows + rows > self._capacity:
            raise QueueFullError(self._line.tokens * self._seconds_per_token)

    def submit(self, rows: Sequence[R], lengths: Sequence[int]) -> Future[Vectors]:
        """A promise of the rows' vectors, shape (rows, dimension). Cancelled, it drops the rows that still wait.

        Args:
            rows: one or more.
            lengths: tokens of each.

        Raises:
            QueueFullError: too many rows wait.
            ClosedError: it was closed.
        """
        ticket = Ticket(rows, lengths, time.monotonic())
        with self._changed:
            if self._closed:
                raise ClosedError("no more work is taken")
            self.check_room(len(rows))
            self._line.add(ticket)
            self._changed.notify()
        ticket.answer.add_done_callback(lambda answer: self._drop(ticket) if answer.cancelled() else None)
        return ticket.answer

    def close(self) -> None:
        """Takes no more work, and returns when all that was taken is done."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _drop(self, ticket: Ticket[R]) -> None:
        with self._changed:
            self._line.drop(ticket)

    def _work(self) -> None:
        while places := self._next_pass():
            started = time.perf_counter()
            self._run(places)
            seconds = time.perf_counter() - started
            tokens = sum(place.length for place in places)
            # The last ten passes or so: what a token costs changes with the rows' lengths.
            before = self._seconds_per_token or seconds / max(tokens, 1)
            self._seconds_per_token = 0.9 * before + 0.1 * seconds / max(tokens, 1)
            if self._observe is not None:
                self._observe(Pass(len(places), tokens, seconds))

    def _next_pass(self) -> list[Place[R]]:
        """Waits for rows; empty when closed and nothing is left."""
        with self._changed:
            while True:
                if not len(self._line):
                    if self._closed:
                        return []
                    self._changed.wait()
                    continue
                left = self._line.oldest() + self._wait - time.monotonic()
                if left <= 0 or self._closed or self._line.tokens >= self._line.token_budget:
                    return self._line.next_pass()
                self._changed.wait(left)

    def _run(self, places: list[Place[R]]) -> None:
        try:
            vectors = self._encode([place.ticket.rows[place.row] for place in places])
            if len(vectors) != len(places):
                raise ValueError(f"the model gave {len(vectors)} vectors for {len(places)} rows")
        except Exception as error:
            if len(places) == 1:
                self._fail(places[0].ticket, error)
                return
            # A row that the model can't take must not fail the requests that happened to share its pass.
            for place in places:
                if not place.ticket.answer.done():
                    self._run([place])
            return
        for place, vector in zip(places, vectors, strict=True):
            place.ticket.vectors[place.row] = vector
        for ticket in {id(place.ticket): place.ticket for place in places}.values():
            done = [vector for vector in ticket.vectors if vector is not None]
            if len(done) == len(ticket.rows) and ticket.answer.set_running_or_notify_cancel():
                ticket.answer.set_result(np.stack(done))

    def _fail(self, ticket: Ticket[R], error: Exception) -> None:
        self._drop(ticket)
        if ticket.answer.set_running_or_notify_cancel():
            ticket.answer.set_exception(error)
