"""Tokens are drawn as the distribution says, with random numbers that belong to the prompt alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from embedloom.llm.sampling import PIECE, RowRandom, Sampling, largest, next_tokens

LOGITS = torch.tensor([2.0, 0.5, 1.0, -1.0, 0.0, -float("inf")])
DRAWS = 20_000


def shares(sampling: Sampling) -> np.ndarray:
    """How often each token is drawn."""
    randoms = [RowRandom(7, str(row)) for row in range(DRAWS)]
    drawn = next_tokens(LOGITS.expand(DRAWS, -1), sampling, randoms)
    return np.bincount(drawn.numpy(), minlength=len(LOGITS)) / DRAWS


def distribution(temperature: float = 1.0, keep: int | None = None) -> np.ndarray:
    """The softmax, of the `keep` likeliest tokens alone."""
    logits = LOGITS.numpy() / temperature
    if keep is not None:
        logits = np.where(np.argsort(np.argsort(-logits)) < keep, logits, -np.inf)
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(), distribution()),
        (Sampling(temperature=0.5), distribution(0.5)),
        (Sampling(top_k=2), distribution(keep=2)),
        (Sampling(top_k=99), distribution()),
        # The likeliest has 0.53, the second 0.20: 0.6 is reached with the second.
        (Sampling(top_p=0.6), distribution(keep=2)),
        (Sampling(top_p=0.3), distribution(keep=1)),
        (Sampling(top_p=0.6, top_k=4), distribution(keep=2)),
        (Sampling(temperature=2.0, top_k=3), distribution(2.0, keep=3)),
    ],
    ids=str,
)
def test_draws_follow_the_distribution(sampling: Sampling, expected: np.ndarray) -> None:
    found = shares(sampling)
    # Five standard errors of a share.
    error = 5 * np.sqrt(expected * (1 - expected) / DRAWS)
    assert (np.abs(found - expected) <= error + 1e-12).all(), (found, expected)
    assert found[expected == 0].sum() == 0


def test_without_temperature_the_likeliest_is_taken() -> None:
    assert shares(Sampling(temperature=0))[0] == 1


def test_a_rows_numbers_are_its_own() -> None:
    def stream(seed: int, prompt: str) -> list[float]:
        random = RowRandom(seed, prompt)
        return [random.uniform() for _ in range(5)]

    assert stream(1, "a") == stream(1, "a")
    assert stream(1, "a") != stream(2, "a") != stream(1, "b")
    logits = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    together = next_tokens(logits, Sampling(top_p=0.9), [RowRandom(3, str(row)) for row in range(4)])
    alone = [next_tokens(logits[row : row + 1], Sampling(top_p=0.9), [RowRandom(3, str(row))]) for row in range(4)]
    assert together.tolist() == [int(token) for token in alone]


@pytest.mark.parametrize("width", [5, 300, 64 * PIECE, 64 * PIECE + 1, 70 * PIECE - 1])
@pytest.mark.parametrize("count", [1, 7, 12])
def test_the_largest_values_are_those_of_topk(width: int, count: int) -> None:
    rows = torch.randn(5, width, generator=torch.Generator().manual_seed(width * count))
    rows[3] = -float("inf")
    rows[3, width // 2] = 1.0
    rows[4] = torch.arange(width)
    expected = rows.topk(min(count, width))
    values, places = largest(rows, count)
    assert torch.equal(values, expected.values)
    assert torch.equal(rows.gather(1, places), values)
    assert all(len(set(row)) == len(row) for row in places.tolist())
