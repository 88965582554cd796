"""The order of training: no false negatives in a batch, each row once an epoch, a function of the seed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from embedloom.data.batches import batches, batches_of_one_kind, choice
from embedloom.data.neighbours import nearest_rows, side_by_side
from embedloom.errors import DataError
from embedloom.records import Example


def rows(count: int) -> list[Example]:
    return [Example("i", f"query {n}", (f"positive {n}",)) for n in range(count)]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=4, max_size=40),
    st.integers(2, 6),
    st.integers(0, 3),
)
def test_no_batch_has_a_query_or_positive_twice(pairs: list[tuple[int, int]], size: int, seed: int) -> None:
    examples = [Example("i", f"Q {query}", (f"p  {positive}", "P " + str(positive))) for query, positive in pairs]
    try:
        taken = list(islice(batches(examples, batch_size=size, seed=seed), 30))
    except DataError:
        # Only where equal rows leave no way to fill a batch, or rows are too few.
        largest = max(max(Counter(side).values()) for side in zip(*pairs, strict=True))
        assert len(examples) < size or largest > 1
        assume(False)
        raise
    for batch in taken:
        assert len(batch) == size
        assert len({pairs[row][0] for row in batch}) == size
        assert len({pairs[row][1] for row in batch}) == size


@given(st.integers(2, 9), st.integers(1, 5), st.integers(0, 2**40))
def test_each_row_once_an_epoch(size: int, times: int, seed: int) -> None:
    count = size * times
    order = [row for batch in islice(batches(rows(count), batch_size=size, seed=seed), 2 * times) for row in batch]
    assert sorted(order[:count]) == list(range(count))
    assert sorted(order[count:]) == list(range(count))


def test_rows_that_do_not_fill_a_batch_open_the_next_epoch() -> None:
    order = [row for batch in islice(batches(rows(10), batch_size=4, seed=0), 5) for row in batch]
    assert Counter(order) == dict.fromkeys(range(10), 2)
    assert sorted(order[:10]) == list(range(10))


def test_the_seed_decides_the_order_and_epochs_differ() -> None:
    def order(seed: int) -> list[list[int]]:
        return list(islice(batches(rows(12), batch_size=4, seed=seed), 6))

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order(1)[:3] != order(1)[3:]


def test_a_row_that_does_not_fit_comes_later_and_is_not_lost() -> None:
    examples = [*rows(6), Example("i", "query 0", ("another",)), Example("i", "other", ("positive 1",))]
    order = [row for batch in islice(batches(examples, batch_size=4, seed=3), 20) for row in batch]
    assert min(Counter(order).values()) >= 9


def test_a_title_with_its_rest_never_meets_the_text_that_has_both() -> None:
    examples = [Example("i", "The Moon", ("a rock",)), Example("j", "what is up", ("the moon: a rock",)), *rows(4)]
    for _, batch in zip(range(30), batches(examples, batch_size=3, seed=2), strict=False):
        assert not {0, 1} <= set(batch)


def test_one_query_under_two_instructions_may_share_a_batch() -> None:
    examples = [Example("i", "q", ("a",)), Example("j", "q", ("b",))]
    assert sorted(next(batches(examples, batch_size=2, seed=0))) == [0, 1]


def test_too_few_rows_are_an_error_that_says_what_to_do() -> None:
    with pytest.raises(DataError, match="3 training rows are fewer than one batch of 4; lower train.batch_size"):
        next(batches(rows(3), batch_size=4, seed=0))
    same = [Example("i", "q", ("p",), (str(n),)) for n in range(9)]
    with pytest.raises(DataError, match="no batch of 2 rows without a common query"):
        next(batches(same, batch_size=2, seed=0))


def test_choices_are_a_function_of_their_place_and_reach_everything() -> None:
    picks = [choice(5, seed=1, step=step, row=0, what="negative") for step in range(200)]
    assert picks == [choice(5, seed=1, step=step, row=0, what="negative") for step in range(200)]
    assert min(Counter(picks).values()) > 15
    assert set(picks) == set(range(5))
    assert choice(1, seed=1, step=3, row=2, what="positive") == 0


TOPICS = ["volcano lava eruption", "violin concert orchestra", "kidney blood dialysis", "glacier ice moraine"]
ABOUT = [
    Example("i", f"query {n}", (f"{TOPICS[n % 4]} {chr(97 + n)}word of row {n}",)) for n in range(24)
]  # fmt: skip


def test_nearest_rows_are_about_the_same_thing_and_never_the_row_itself() -> None:
    nearest = nearest_rows(ABOUT, depth=5)
    for row, others in enumerate(nearest):
        assert len(others) == 5
        assert row not in others
        assert {other % 4 for other in others} == {row % 4}


def test_a_batch_of_neighbours_is_about_one_thing_and_every_row_has_its_turn() -> None:
    taken = list(islice(batches(ABOUT, batch_size=6, seed=2, neighbourhood=6), 8))
    for batch in taken:
        assert len({row % 4 for row in batch}) == 1
    assert sorted(row for batch in taken[:4] for row in batch) == list(range(24))
    assert taken[:4] != taken[4:]
    mixed = list(islice(batches(ABOUT, batch_size=6, seed=2, neighbourhood=2), 4))
    assert any(len({row % 4 for row in batch}) > 1 for batch in mixed)


@given(st.integers(1, 30), st.integers(1, 7), st.integers(0, 2**32))
def test_side_by_side_is_a_permutation(count: int, size: int, seed: int) -> None:
    random = Random(seed)
    order = random.sample(range(count), count)
    nearest = [random.sample(range(count), min(count, 5)) for _ in range(count)]
    found = side_by_side(order, nearest, size)
    assert sorted(found) == list(range(count))
    assert found[0] == order[0]


def labelled(count: int, labels: int) -> list[Example]:
    return [Example("i", f"text {n}", (f"label {n % labels}",), family="long-short") for n in range(count)]


def test_rows_of_a_classification_may_share_their_label() -> None:
    taken = list(islice(batches(labelled(12, 2), batch_size=6, seed=0), 2))
    assert sorted(row for batch in taken for row in batch) == list(range(12))
    with pytest.raises(DataError, match="common query or positive"):
        next(batches([replace(row, family="short-long") for row in labelled(12, 2)], batch_size=6, seed=0))


def test_batches_of_one_kind_mix_no_kinds_and_take_turns_by_size() -> None:
    sizes = {("a", "sts"): 40, ("a", "bitext"): 20, ("b", "sts"): 10, ("c", "sts"): 2, ("d", "sts"): 3}
    kinds = [kind for kind, size in sizes.items() for _ in range(size)]
    examples = [
        Example("i", f"query {n}", (f"positive {n}",), source=source, family=family)
        for n, (source, family) in enumerate(kinds)
    ]
    taken = list(islice(batches_of_one_kind(examples, batch_size=5, seed=3), 15))
    seen = [{kinds[row] for row in batch} for batch in taken]
    assert Counter(frozenset(kind) for kind in seen) == {
        frozenset([("a", "sts")]): 8,
        frozenset([("a", "bitext")]): 4,
        frozenset([("b", "sts")]): 2,
        frozenset([("c", "sts"), ("d", "sts")]): 1,
    }
    assert sorted(row for batch in taken for row in batch) == list(range(75))
    assert seen != sorted(seen, key=str)


def test_a_remainder_too_small_for_a_batch_stands_with_the_last_kind() -> None:
    examples = [Example("i", f"query {n}", (f"positive {n}",), source="a" if n < 8 else "b") for n in range(10)]
    taken = list(islice(batches_of_one_kind(examples, batch_size=5, seed=3), 2))
    assert sorted(row for batch in taken for row in batch) == list(range(10))
    with pytest.raises(DataError, match="fewer than one batch"):
        next(batches_of_one_kind(examples[:4], batch_size=5, seed=3))
    with pytest.raises(DataError, match="2 training rows are fewer than one batch of 5"):
        next(batches_of_one_kind(examples[:2], batch_size=5, seed=3))
