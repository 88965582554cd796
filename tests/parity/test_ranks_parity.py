"""Several processes give the loss, gradient and training of one process with the whole batch, to rounding."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embedloom.model.passes import plan_passes, row_vectors
from embedloom.records import content_id
from embedloom.run import read_records
from embedloom.train.development import DEVELOPMENT_FILE, Measurement
from embedloom.train.gradcache import loss_and_gradients
from embedloom.train.state import steps_done, trained
from rank_cases import BUDGET, SEED, a_batch, a_model, loss_of
from ranks import Ranks
from toy_training import SETTINGS, finds_its_own, toy_training

CPU = torch.device("cpu")
ALL = 10**9
"""Graph tokens that hold every graph."""


@pytest.fixture(scope="module")
def ranks() -> Iterator[Ranks]:
    with Ranks() as server:
        yield server


def gradients_of(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def alone(kind: str, rows: int) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of one process, without dropout."""
    batch, model = a_batch(kind, rows), a_model(kind, 0.0)
    loss = loss_and_gradients(
        model, batch.rows, loss_of(batch), pooling="last", pad=0, device=CPU, token_budget=BUDGET, graph_tokens=ALL
    )
    return loss, gradients_of(model)


def same_gradients(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert set(found) == set(expected)
    assert all(gradient.abs().max() > 0 for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4, msg=lambda t, name=name: f"{name}: {t}")


@pytest.mark.parametrize(
    ("kind", "count", "graph_tokens", "rows"),
    [
        ("llama", 2, ALL, 9),
        ("gemma3", 4, 0, 9),
        # Graphs of some passes are kept, those of others not.
        ("llama", 4, 200, 9),
        # One row and its hard negative: three texts, so that a rank has none.
        ("llama", 4, 0, 1),
    ],
)
def test_gradients_of_ranks_are_those_of_one_process(
    tmp_path: Path, ranks: Ranks, kind: str, count: int, graph_tokens: int, rows: int
) -> None:
    loss, expected = alone(kind, rows)
    for found in ranks.results("rank_cases:gradients", count, tmp_path, kind, 0.0, graph_tokens, rows):
        assert found["loss"] == pytest.approx(loss, abs=1e-5)
        same_gradients(found["gradients"], expected)
        assert found["exchanges"] == 1, "gradients are exchanged once a step, not once a pass"


@pytest.mark.parametrize("graph_tokens", [0, ALL])
def test_dropout_is_that_of_one_graph_with_the_ranks_masks(tmp_path: Path, ranks: Ranks, graph_tokens: int) -> None:
    """Every rank drops units of its own in every pass, and the same ones when a pass is computed again."""
    count, rows = 2, 9
    batch, model = a_batch("llama", rows), a_model("llama", 0.3)
    parts, order = [], []
    groups = plan_passes(batch.rows, token_budget=BUDGET * count, max_rows=len(batch.rows))
    assert len(groups) > 2
    for rank in range(count):
        for number, group in enumerate(groups):
            torch.manual_seed(int(content_id("pass", SEED, number, rank), 16) % 2**63)
            share = group[rank::count]
            some = [batch.rows[row] for row in share]
            parts.append(row_vectors(model, some, pooling="last", pad=0, device=CPU))
            order += share
    loss = loss_of(batch)(torch.cat(parts)[torch.argsort(torch.tensor(order))])
    loss.backward()
    without, _ = alone("llama", rows)
    assert abs(float(loss.detach()) - without) > 1e-3, "dropout changes nothing"
    for found in ranks.results("rank_cases:gradients", count, tmp_path, "llama", 0.3, graph_tokens, rows):
        assert found["loss"] == pytest.approx(float(loss.detach()), abs=1e-5)
        same_gradients(found["gradients"], gradients_of(model))


@pytest.mark.parametrize("graph_tokens", [0, 100, ALL])
def test_sharded_weights_have_the_gradients_of_whole_ones(tmp_path: Path, ranks: Ranks, graph_tokens: int) -> None:
    """FSDP2: each process holds half of the weights; a rank without a row computes for the others' sake."""
    for rows in (9, 1):
        loss, expected = alone("llama", rows)
        where = tmp_path / str(rows)
        results = ranks.results("rank_cases:gradients", 2, where, "llama", 0.0, graph_tokens, rows, weights="sharded")
        size = sum(parameter.numel() for parameter in a_model("llama", 0.0).parameters())
        for found in results:
            assert found["loss"] == pytest.approx(loss, abs=1e-5)
            same_gradients(found["gradients"], expected)
            assert found["local"] < 0.55 * size, "the weights are not sharded"
            # Two layers and the rest are sharded each by itself.
            assert 0 < found["exchanges"] <= 3, "gradients are exchanged once a step, not once a pass"


def test_a_training_stopped_on_four_ranks_goes_on_with_two_and_then_alone(tmp_path: Path, ranks: Ranks) -> None:
    """Plain, sharded, alone: the state doesn't depend on who wrote it, nor the order of batches on who reads."""
    model, logs = toy_training(tmp_path / "whole", dropout=0.0)
    parts = tmp_path / "parts"
    for count, stop, weights in ((4, 4, "replicated"), (2, 7, "sharded")):
        where = tmp_path / f"{count} ranks"
        arguments = (str(parts), SETTINGS.steps, stop, 0.0)
        ranks.results("rank_cases:training", count, where, *arguments, weights=weights)
        assert steps_done(parts) == (stop + 1) // 3 * 3
    resumed, again = toy_training(parts, dropout=0.0)
    np.testing.assert_allclose([log.loss for log in again], [log.loss for log in logs], atol=1e-5)
    np.testing.assert_allclose([log.gradient_norm for log in again], [log.gradient_norm for log in logs], rtol=1e-4)
    same_weights(resumed, model)


@pytest.mark.parametrize("weights", ["replicated", "sharded"])
def test_a_whole_training_on_ranks_ends_with_the_weights_of_one_process(
    tmp_path: Path, ranks: Ranks, weights: str
) -> None:
    model, logs = toy_training(tmp_path / "alone", dropout=0.0)
    folder = tmp_path / "ranks"
    arguments = (str(folder), SETTINGS.steps, -1, 0.0)
    for found in ranks.results("rank_cases:training", 2, tmp_path / "out", *arguments, weights=weights):
        np.testing.assert_allclose(found["losses"], [log.loss for log in logs], atol=1e-5)
        np.testing.assert_allclose(found["norms"], [log.gradient_norm for log in logs], rtol=1e-4)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                torch.testing.assert_close(found["weights"][name], parameter.detach(), atol=1e-4, rtol=1e-3)
    # What is on disk is whole, though each rank had half: the training counts as done for one process too.
    again, same = toy_training(folder, dropout=0.0)
    assert len(same) == SETTINGS.steps
    same_weights(again, model)


def test_ranks_of_unlike_precision_are_told_so_before_they_train(tmp_path: Path, ranks: Ranks) -> None:
    found = ranks.results("rank_cases:unlike_precision", 2, tmp_path / "out", str(tmp_path / "run"))
    kinds = ("float32", "bfloat16")
    for rank, own, theirs in ((0, *kinds), (1, *reversed(kinds))):
        said = f"process {rank} has weights in {own}, process {1 - rank} has {theirs}; "
        assert found[rank]["said"].startswith(said)
        assert 'train.dtype = "float32"' in found[rank]["said"]


def same_measurements(tmp_path: Path, ranks: Ranks, function: str, count: int, weights: str) -> None:
    """Sixteen queries and texts on the ranks; stopped behind a measurement, then gone on with by one process."""
    whole, _ = toy_training(tmp_path / "alone", dropout=0.0, development=finds_its_own())
    expected = [found.score for found in read_records(tmp_path / "alone" / DEVELOPMENT_FILE, Measurement)]
    folder = tmp_path / "ranks"
    results = ranks.results(f"rank_cases:{function}", count, tmp_path / "out", str(folder), 7, weights=weights)
    assert all(found["scores"] == results[0]["scores"] for found in results)
    np.testing.assert_allclose(results[0]["scores"], expected[:5], atol=1e-5)
    again, _ = toy_training(folder, dropout=0.0, development=finds_its_own())
    found = [found.score for found in read_records(folder / DEVELOPMENT_FILE, Measurement)]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    same_weights(trained(again, folder), trained(whole, tmp_path / "alone"))


@pytest.mark.parametrize("weights", ["replicated", "sharded"])
def test_ranks_share_the_measurement_and_agree_on_the_best(tmp_path: Path, ranks: Ranks, weights: str) -> None:
    same_measurements(tmp_path, ranks, "measured_training", 3, weights)


@pytest.mark.skipif(find_spec("deepspeed") is None, reason="needs the extra deepspeed")
@pytest.mark.slow
def test_parts_of_deepspeed_are_measured_as_the_whole_model(tmp_path: Path, ranks: Ranks) -> None:
    """The best weights are put together from the parts too."""
    same_measurements(tmp_path, ranks, "dealt_out_measured_training", 2, "zero")


@pytest.mark.skipif(find_spec("deepspeed") is None, reason="needs the extra deepspeed")
@pytest.mark.slow
def test_a_training_dealt_out_by_deepspeed_is_that_of_one_process(tmp_path: Path, ranks: Ranks) -> None:
    """Stopped and resumed, then finished by one process, which reads the state that DeepSpeed's parts made."""
    model, logs = toy_training(tmp_path / "alone", dropout=0.0)
    folder = tmp_path / "ranks"
    for stop in (4, 7):
        out = tmp_path / f"until {stop}"
        ranks.results("rank_cases:dealt_out_training", 2, out, str(folder), SETTINGS.steps, stop, 0.0, weights="zero")
        assert steps_done(folder) == (stop + 1) // 3 * 3
    again, same = toy_training(folder, dropout=0.0)
    np.testing.assert_allclose([log.loss for log in same], [log.loss for log in logs], atol=1e-5)
    np.testing.assert_allclose([log.gradient_norm for log in same], [log.gradient_norm for log in logs], rtol=1e-4)
    same_weights(again, model)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs, for NCCL")
@pytest.mark.parametrize("weights", ["replicated", "sharded"])
def test_gradients_of_gpus_are_those_of_one_process(tmp_path: Path, ranks: Ranks, weights: str) -> None:
    loss, expected = alone("gemma3", 9)
    arguments = ("gemma3", 0.0, 200, 9)
    for found in ranks.results("rank_cases:gradients", 2, tmp_path, *arguments, weights=weights, gpus=True):
        assert found["loss"] == pytest.approx(loss, abs=1e-4)
        for name, gradient in expected.items():
            torch.testing.assert_close(found["gradients"][name], gradient, atol=1e-4, rtol=1e-3)


def same_weights(found: Any, expected: Any) -> None:
    theirs = dict(found.named_parameters())
    for name, parameter in expected.named_parameters():
        torch.testing.assert_close(
            theirs[name], parameter, atol=1e-4, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}"
        )
