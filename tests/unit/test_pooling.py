"""One vector a text from the last layer's states, against plain NumPy, with padding on either side."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from embedloom.model.pooling import POOLINGS, pool

LENGTHS = (1, 3, 7, 4)
WIDTH = 7


def states(side: str) -> tuple[torch.Tensor, torch.Tensor, list[np.ndarray]]:
    """Padded states with noise in the padding, their mask, and each row's own states."""
    generator = np.random.default_rng(5)
    rows = [generator.normal(size=(length, 6)).astype(np.float32) for length in LENGTHS]
    hidden = generator.normal(size=(len(rows), WIDTH, 6)).astype(np.float32) * 100
    mask = np.zeros((len(rows), WIDTH), dtype=np.int64)
    for number, row in enumerate(rows):
        place = slice(0, len(row)) if side == "right" else slice(WIDTH - len(row), WIDTH)
        hidden[number, place] = row
        mask[number, place] = 1
    return torch.tensor(hidden), torch.tensor(mask), rows


def reference(row: np.ndarray, pooling: str) -> np.ndarray:
    weights = {
        "last": np.eye(len(row))[-1],
        "cls": np.eye(len(row))[0],
        "mean": np.ones(len(row)),
        "weighted-mean": np.arange(1, len(row) + 1),
    }[pooling]
    vector = (row * weights[:, None]).sum(axis=0) / weights.sum()
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_vectors_are_the_references(pooling: str, side: str) -> None:
    hidden, mask, rows = states(side)
    found = pool(hidden, mask, pooling)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), [reference(row, pooling) for row in rows], atol=1e-6)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_half_precision_states_are_summed_in_float32(pooling: str) -> None:
    hidden, mask, _ = states("right")
    coarse = hidden.bfloat16()
    np.testing.assert_allclose(pool(coarse, mask, pooling), pool(coarse.float(), mask, pooling), atol=1e-6)


def test_an_unknown_pooling_names_the_known_ones() -> None:
    hidden, mask, _ = states("right")
    with pytest.raises(ValueError, match="'max'; expected one of last, mean, weighted-mean, cls"):
        pool(hidden, mask, "max")
