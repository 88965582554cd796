"""The line that rows wait in: fair between requests, and grouped by length into passes of the model.

Requests take turns, one row each, so that a request of one text is not behind the thousand texts of another. The first
row in turn is always in the next pass; rows of like length fill it up, those in turn first where they don't all fit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from embedloom.records import Vectors

R = TypeVar("R")

SHORT = 32
"""Tokens up to which lengths count as alike: padding a row by less costs next to nothing."""
WINDOW = 1024
"""Rows that are looked at for one pass."""


@dataclass(slots=True, eq=False)
class Ticket(Generic[R]):
    """The rows of one request and the promise of their vectors.

    Attributes:
        rows: what the model reads.
        lengths: tokens of each row.
        since: when it came, in seconds of a monotonic clock.
        answer: the promise; cancelled, the rows that wait are dropped.
        waiting: numbers of the rows that are in no pass yet.
        vectors: what is done, by row.
    """

    rows: Sequence[R]
    lengths: Sequence[int]
    since: float
    answer: Future[Vectors] = field(default_factory=Future)
    waiting: deque[int] = field(default_factory=deque)
    vectors: list[Vectors | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.waiting = deque(range(len(self.rows)))
        self.vectors = [None] * len(self.rows)


@dataclass(frozen=True, slots=True)
class Place(Generic[R]):
    """One row of a ticket in a pass."""

    ticket: Ticket[R]
    row: int

    @property
    def length(self) -> int:
        """Tokens."""
        return self.ticket.lengths[self.row]


class Line(Generic[R]):
    """Tickets in their turn. Not for several threads at once.

    Args:
        token_budget: rows x longest row of a pass; a single longer row is a pass of its own.
        max_rows: of a pass.
    """

    def __init__(self, *, token_budget: int, max_rows: int) -> None:
        self.token_budget = token_budget
        self.max_rows = max_rows
        self.rows = 0
        self.tokens = 0
        self._tickets: deque[Ticket[R]] = deque()

    def __len__(self) -> int:
        """Tickets with rows that wait."""
        return len(self._tickets)

    def add(self, ticket: Ticket[R]) -> None:
        """Puts a ticket behind the others."""
        self._tickets.append(ticket)
        self.rows += len(ticket.waiting)
        self.tokens += sum(ticket.lengths[row] for row in ticket.waiting)

    def drop(self, ticket: Ticket[R]) -> None:
        """Takes out what still waits of a ticket."""
        if ticket.waiting:
            self._tickets.remove(ticket)
            self.rows -= len(ticket.waiting)
            self.tokens -= sum(ticket.lengths[row] for row in ticket.waiting)
            ticket.waiting.clear()

    def oldest(self) -> float:
        """When the ticket came that has waited longest."""
        return min(ticket.since for ticket in self._tickets)

    def next_pass(self) -> list[Place[R]]:
        """Takes the rows of the next pass out of the line; empty if nobody waits."""
        candidates = self._in_turn()
        first = next(candidates, None)
        if first is None:
            return []
        chosen = [first]
        shortest = longest = max(first.length, SHORT)
        likest = sorted(candidates, key=lambda place: abs(max(place.length, SHORT) - shortest))
        for place in likest:
            if len(chosen) == self.max_rows:
                break
            length = max(place.length, SHORT)
            low, high = min(shortest, length), max(longest, length)
            # With rows of half the longest's length or more, at most half of a pass is padding.
            if high > 2 * low or (len(chosen) + 1) * high > self.token_budget:
                continue
            chosen.append(place)
            shortest, longest = low, high
        self._take(chosen)
        return chosen

    def _in_turn(self) -> Iterator[Place[R]]:
        """The first row of each ticket, then the second of each, and so on."""
        found, depth, left = 0, 0, [(ticket, list(ticket.waiting)) for ticket in self._tickets]
        while left and found < WINDOW:
            for ticket, waiting in left:
                yield Place(ticket, waiting[depth])
                found += 1
            depth += 1
            left = [(ticket, waiting) for ticket, waiting in left if len(waiting) > depth]

    def _take(self, places: list[Place[R]]) -> None:
        taken: dict[int, set[int]] = {}
        for place in places:
            taken.setdefault(id(place.ticket), set()).add(place.row)
            self.rows -= 1
            self.tokens -= place.length
        later: deque[Ticket[R]] = deque()
        served: deque[Ticket[R]] = deque()
        for ticket in self._tickets:
            rows = taken.get(id(ticket))
            if rows is None:
                later.append(ticket)
                continue
            ticket.waiting = deque(row for row in ticket.waiting if row not in rows)
            if ticket.waiting:
                served.append(ticket)
        # Who got something stands behind those who got nothing.
        self._tickets = later + served
