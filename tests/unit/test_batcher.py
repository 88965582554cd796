"""Batching across requests: each answer to its own request, turns, passes within the budget, and what is dropped."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Future
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedloom.serve.batcher import Batcher, ClosedError, Pass, QueueFullError
from embedloom.serve.line import SHORT, Line, Ticket

SECONDS = 60


class Model:
    """Gives each row its own number as a vector; `passes` lists the rows of each pass. Waits where it is told to."""

    def __init__(self, *, held: bool = False) -> None:
        self.passes: list[list[int]] = []
        self.entered = threading.Semaphore(0)
        self.let = threading.Semaphore(0)
        self.held = held
        self.poison: set[int] = set()

    def __call__(self, rows: list[int]) -> Any:
        self.passes.append(rows)
        self.entered.release()
        if self.held:
            assert self.let.acquire(timeout=SECONDS)
        if self.poison & set(rows):
            raise OSError("a row that breaks the model")
        return np.array([[row, row] for row in rows], dtype=np.float32)


def batcher(model: Model, **settings: Any) -> Batcher[int]:
    return Batcher(model, **({"token_budget": 1024, "wait": 0.0} | settings))


def result(answer: Future[Any]) -> list[int]:
    return [int(row) for row in answer.result(SECONDS)[:, 0]]


def flat(lists: list[list[int]]) -> list[int]:
    return [number for numbers in lists for number in numbers]


def ticket(*rows: int, length: int = 10) -> Ticket[int]:
    return Ticket(rows, [length] * len(rows), 0.0)


def taken(line: Line[int]) -> list[int]:
    return [place.ticket.rows[place.row] for place in line.next_pass()]


@given(
    requests=st.lists(st.lists(st.integers(1, 3000), min_size=1, max_size=40), min_size=1, max_size=12),
    budget=st.integers(1, 5000),
    max_rows=st.integers(1, 50),
)
@settings(max_examples=60, deadline=None)
def test_answers_come_back_to_their_own_requests(requests: list[list[int]], budget: int, max_rows: int) -> None:
    model = Model()
    seen: list[Pass] = []
    shared = batcher(model, token_budget=budget, max_rows=max_rows, capacity=10**6, observe=seen.append)
    numbers = iter(range(10**6))
    given_rows = [[next(numbers) for _ in lengths] for lengths in requests]
    length_of = dict(zip(flat(given_rows), flat(requests), strict=True))
    answers: list[Future[Any]] = [Future() for _ in requests]

    def send(first: int) -> None:
        for number in range(first, len(requests), 3):
            answers[number] = shared.submit(given_rows[number], requests[number])

    threads = [threading.Thread(target=send, args=(first,)) for first in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result(answer) for answer in answers] == given_rows
    shared.close()
    assert sorted(flat(model.passes)) == sorted(length_of)
    for rows in model.passes:
        lengths = [max(length_of[row], SHORT) for row in rows]
        assert len(rows) == 1 or (len(rows) * max(lengths) <= budget and len(rows) <= max_rows)
        assert max(lengths) <= 2 * min(lengths)
    assert [one.rows for one in seen] == [len(rows) for rows in model.passes]
    assert sum(one.tokens for one in seen) == sum(length_of.values())
    assert (shared.waiting_rows, shared.waiting_requests) == (0, 0)


@given(
    requests=st.lists(st.lists(st.integers(1, 400), min_size=1, max_size=30), min_size=1, max_size=8),
    budget=st.integers(1, 2000),
)
@settings(max_examples=60, deadline=None)
def test_the_first_in_turn_is_in_the_next_pass_and_counts_stay_right(requests: list[list[int]], budget: int) -> None:
    line: Line[int] = Line(token_budget=budget, max_rows=16)
    tickets = [Ticket(list(range(len(lengths))), lengths, 0.0) for lengths in requests]
    for one in tickets:
        line.add(one)
    while len(line):
        assert line.rows == sum(len(one.waiting) for one in tickets)
        assert line.tokens == sum(one.lengths[row] for one in tickets for row in one.waiting)
        first = line._tickets[0]
        row = first.waiting[0]
        assert any(place.ticket is first and place.row == row for place in line.next_pass())
    assert (line.rows, line.tokens) == (0, 0)
    assert line.next_pass() == []


def test_a_single_text_does_not_wait_behind_the_thousand_of_another_request() -> None:
    line: Line[int] = Line(token_budget=4 * SHORT, max_rows=256)
    line.add(ticket(*range(1000)))
    assert taken(line) == [0, 1, 2, 3]
    line.add(ticket(5000))
    line.add(ticket(6000, 6001))
    assert sorted(taken(line)) == [4, 5, 5000, 6000]
    # Both got something, and go on in turn.
    assert sorted(taken(line)) == [6, 7, 8, 6001]


def test_a_long_text_is_not_overtaken_for_ever_by_short_ones() -> None:
    line: Line[int] = Line(token_budget=4 * SHORT, max_rows=256)
    line.add(ticket(1, 2))
    line.add(ticket(9000, length=900))
    passes = []
    for number in range(3):
        line.add(ticket(100 + number))
        passes.append(taken(line))
    assert passes == [[1, 100, 2], [9000], [101, 102]]


def test_a_request_that_is_cancelled_is_not_computed_and_makes_room() -> None:
    model = Model(held=True)
    shared = batcher(model, capacity=4)
    first = shared.submit([1], [5])
    assert model.entered.acquire(timeout=SECONDS)
    second, third = shared.submit([2, 3], [5, 5]), shared.submit([4, 5], [5, 5])
    with pytest.raises(QueueFullError):
        shared.submit([6], [5])
    assert second.cancel()
    fourth = shared.submit([6, 7], [5, 5])
    model.held = False
    model.let.release()
    assert (result(first), result(third), result(fourth)) == ([1], [4, 5], [6, 7])
    assert model.passes == [[1], [4, 6, 5, 7]]
    with pytest.raises(CancelledError):
        second.result(0)
    shared.close()


def test_a_request_that_is_cancelled_half_way_leaves_the_others_alone() -> None:
    model = Model(held=True)
    shared = batcher(model, max_rows=2)
    bulk = shared.submit([1, 2, 3, 4, 5], [5] * 5)
    assert model.entered.acquire(timeout=SECONDS)
    single = shared.submit([9], [5])
    assert bulk.cancel()
    model.held = False
    model.let.release()
    assert result(single) == [9]
    shared.close()
    assert [1, 2] in model.passes
    assert not {3, 4, 5} & set(flat(model.passes))


def test_a_request_larger_than_the_queue_is_taken_when_nobody_waits() -> None:
    shared = batcher(Model(), capacity=2)
    assert result(shared.submit([1, 2, 3], [5] * 3)) == [1, 2, 3]
    shared.close()


def test_a_row_that_breaks_the_model_fails_its_own_request_only() -> None:
    model = Model(held=True)
    model.poison = {3}
    shared = batcher(model)
    first = shared.submit([1], [5])
    assert model.entered.acquire(timeout=SECONDS)
    good, bad, other = (shared.submit(rows, [5] * len(rows)) for rows in ([2], [3, 4, 5], [6]))
    model.held = False
    model.let.release()
    assert (result(first), result(good), result(other)) == ([1], [2], [6])
    with pytest.raises(OSError, match="breaks the model"):
        bad.result(SECONDS)
    assert result(shared.submit([7], [5])) == [7]
    shared.close()


def test_a_model_that_gives_too_few_vectors_is_an_error_and_no_dead_thread() -> None:
    shared: Batcher[int] = Batcher(lambda rows: np.zeros((0, 2), np.float32), token_budget=100, wait=0.0)
    with pytest.raises(ValueError, match="0 vectors for 1 rows"):
        shared.submit([1], [5]).result(SECONDS)
    assert shared.alive
    shared.close()


def test_closing_finishes_what_was_taken_and_takes_no_more() -> None:
    model = Model(held=True)
    shared = batcher(model)
    answers = [shared.submit([number], [5]) for number in range(3)]
    assert model.entered.acquire(timeout=SECONDS)
    closing = threading.Thread(target=shared.close)
    closing.start()
    while shared.alive:
        pass
    with pytest.raises(ClosedError):
        shared.submit([9], [5])
    model.held = False
    model.let.release(3)
    assert [result(answer) for answer in answers] == [[0], [1], [2]]
    closing.join(SECONDS)
    assert not closing.is_alive()


def test_texts_that_come_while_the_model_works_share_the_next_pass() -> None:
    model = Model(held=True)
    shared = batcher(model)
    first = shared.submit([0], [5])
    assert model.entered.acquire(timeout=SECONDS)
    others = [shared.submit([number], [5]) for number in range(1, 20)]
    model.held = False
    model.let.release()
    assert [result(answer) for answer in (first, *others)] == [[number] for number in range(20)]
    assert [len(rows) for rows in model.passes] == [1, 19]
    shared.close()
