"""How many rows of a source are drawn, and how often each stands in an epoch."""

from __future__ import annotations

from collections import Counter

import pytest

from embedloom.cli.corpus import drawn, weighted
from embedloom.records import Example

ROWS = [Example("i", f"query {n}", (f"positive {n}",)) for n in range(40)]


@pytest.mark.parametrize(("weight", "count"), [(0.25, 10), (0.5, 20), (1.0, 40), (1.5, 60), (3.0, 120)])
def test_a_weight_says_how_often_rows_stand_in_an_epoch(weight: float, count: int) -> None:
    found = weighted(ROWS, weight, seed=1)
    assert len(found) == count
    times = Counter(row.id for row in found)
    assert set(times.values()) <= {int(weight), int(weight) + 1}
    assert found == weighted(ROWS, weight, seed=1)


def test_the_seed_decides_which_rows_are_drawn() -> None:
    assert drawn(ROWS, 0, 1, "row") == drawn(ROWS, 40, 1, "row") == ROWS
    some = drawn(ROWS, 10, 1, "row")
    assert len(set(some)) == 10
    assert [row for row in ROWS if row in some] == some
    assert {row.id for row in some} != {row.id for row in drawn(ROWS, 10, 2, "row")}
