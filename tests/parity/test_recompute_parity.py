"""Layers that are computed again on the way back: the same gradients, from a smaller graph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from embedloom.errors import ModelError
from embedloom.model.recompute import compute_layers_again, computes_layers_again
from embedloom.train.engine import engine_for
from embedloom.train.gradcache import loss_and_gradients
from embedloom.train.lora import train_all
from rank_cases import BUDGET, SEED, a_batch, a_model, loss_of
from ranks import Ranks
from tiny import model_of

CPU = torch.device("cpu")
ALL = 10**9


@pytest.fixture(scope="module")
def ranks() -> Iterator[Ranks]:
    with Ranks() as server:
        yield server


def gradients(kind: str, *, again: bool, dropout: float, graph_tokens: int, full: bool) -> tuple[float, dict[str, Any]]:
    model = train_all(model_of(kind)).train() if full else a_model(kind, dropout)
    if again:
        compute_layers_again(model)
    batch = a_batch(kind, 9)
    engine = engine_for(model, None, weight_decay=0.0)
    assert computes_layers_again(model) is again
    assert engine.shares_beginnings is not again
    if not again:
        engine.shares_beginnings = False
    torch.manual_seed(SEED)
    loss = loss_and_gradients(
        model, batch.rows, loss_of(batch), pooling="last", pad=0, device=CPU, token_budget=BUDGET,
        graph_tokens=graph_tokens, ranks=engine,
    )  # fmt: skip
    return loss, {name: p.grad for name, p in model.named_parameters() if p.requires_grad and p.grad is not None}


@pytest.mark.parametrize("kind", ["gemma3", "qwen3"])
@pytest.mark.parametrize(("full", "dropout"), [(False, 0.3), (False, 0.0), (True, 0.0)])
@pytest.mark.parametrize("graph_tokens", [0, ALL])
def test_gradients_are_those_of_the_whole_graph(kind: str, full: bool, dropout: float, graph_tokens: int) -> None:
    settings = {"dropout": dropout, "graph_tokens": graph_tokens, "full": full}
    loss, expected = gradients(kind, again=False, **settings)
    same, found = gradients(kind, again=True, **settings)
    assert same == pytest.approx(loss, abs=1e-6)
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4, msg=lambda t, name=name: f"{name}: {t}")


@pytest.mark.parametrize("full", [False, True])
def test_a_graph_keeps_a_fraction_of_its_states(full: bool) -> None:
    def kept(again: bool) -> int:
        model = train_all(model_of("llama")).train() if full else a_model("llama", 0.0)
        weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
        if again:
            compute_layers_again(model)
        sizes: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        ids = torch.arange(5, 261).reshape(2, 128)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            states = model(input_ids=ids, use_cache=False).last_hidden_state
        states.sum().backward()
        return sum(sizes.values())

    assert kept(again=True) < 0.35 * kept(again=False)


def test_sharded_layers_are_put_together_again(tmp_path: Path, ranks: Ranks) -> None:
    _, expected = gradients("llama", again=False, dropout=0.0, graph_tokens=ALL, full=False)
    for found in ranks.results("rank_cases:gradients", 2, tmp_path, "llama", 0.0, 200, 9, True, weights="sharded"):
        for name, gradient in expected.items():
            torch.testing.assert_close(found["gradients"][name], gradient, atol=1e-5, rtol=1e-4)


def test_a_model_that_names_no_layers_is_refused() -> None:
    with pytest.raises(ModelError, match=r"Linear doesn't name its layers; set train\.checkpoint_layers to false"):
        compute_layers_again(torch.nn.Linear(2, 2))
