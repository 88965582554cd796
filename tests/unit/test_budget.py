"""A budget is never exceeded by what is begun, and tells what was spent."""

from __future__ import annotations

from embedloom.llm.budget import Budget, Prices


def test_tokens_in_flight_count_until_they_are_released() -> None:
    budget = Budget(tokens=100)
    assert budget.hold(30, 20)
    assert budget.hold(30, 20)
    assert not budget.hold(1, 0)
    budget.release(30, 20)
    budget.spend(10, 5)
    assert budget.hold(15, 20)
    assert not budget.hold(1, 0)
    assert budget.told() == "15 of 100 tokens"


def test_money_is_counted_at_the_prices_of_both_kinds() -> None:
    budget = Budget(money=1.0, prices=Prices(input=1.0, output=10.0))
    assert not budget.hold(0, 100_001)
    assert not budget.hold(500_000, 50_001)
    assert budget.hold(500_000, 50_000)
    budget.release(500_000, 50_000)
    budget.spend(500_000, 0)
    assert budget.told() == "0.5000 of 1 in money"


def test_what_was_spent_before_counts() -> None:
    assert not Budget(tokens=100, spent_input=60, spent_output=40).hold(1, 0)
    assert Budget(tokens=100, spent_input=60, spent_output=39).hold(1, 0)


def test_without_a_limit_nothing_is_refused() -> None:
    budget = Budget()
    assert not budget.limited
    assert budget.hold(10**12, 10**12)
    assert budget.told() == ""
