"""`embedloom train` stops behind the training; `embedloom run` goes on from there and shows what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from command import World, call, small_world
from embedloom.cli import tuning
from embedloom.model.encoder import open_encoder
from embedloom.run import read_objects


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return small_world(tmp_path_factory.mktemp("world"))


def test_training_stops_behind_the_training_and_the_best_weights_are_the_model(
    tmp_path: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    measured = ["--set", "train.dev_share=0.15", "--set", "train.dev_steps=2"]
    answer = call(capsys, "train", world.recipe, "--out", out, *measured)
    assert answer.status == 0, answer.error
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert list(manifest)[-1] == "train"
    assert manifest["train"]["steps"] == 4
    found = [obj for _, obj in read_objects(out / "training" / "development.jsonl")]
    assert [obj["step"] for obj in found] == [0, 2, 4]
    assert manifest["train"]["dev"] == [round(max(obj["score"] for obj in found[1:]), 4)]
    assert ", dev " in answer.error
    assert open_encoder(out / "model").encode_documents(["bread"]).shape == (1, 32)
    again = call(capsys, "train", world.recipe, "--out", out, *measured)
    assert "train      done before" in again.error
    # The stages behind it, from the same folder.
    rest = call(capsys, "run", world.recipe, "--out", out, *measured)
    assert rest.status == 0, rest.error
    assert "train      done before" in rest.error
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Development score" in page


def test_two_averaged_trainings_leave_one_adapter_that_is_their_mean(
    tmp_path: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    more = ["--set", "train.runs=2", "--set", "train.checkpoint_layers=true", "--set", "train.tracker=tensorboard"]
    assert call(capsys, "train", world.recipe, "--out", out, *more).status == 0
    config = json.loads((out / "model" / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["r"], config["lora_alpha"]) == (32, 32)
    assert list((out / "training" / "tensorboard").iterdir())
    assert list((out / "training" / "run-2" / "tensorboard").iterdir())
    # Who watches changes nothing.
    again = call(capsys, "train", world.recipe, "--out", out, *more[:4])
    assert "train      done before" in again.error


@pytest.mark.skipif(torch.cuda.is_available(), reason="there trainings go one after the other")
def test_trainings_side_by_side_give_the_model_of_one_after_the_other(
    tmp_path: Path, world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(count: int) -> tuple[list[float], torch.Tensor]:
        monkeypatch.setattr(tuning, "cores", lambda: count)
        out = tmp_path / f"out-{count}"
        answer = call(capsys, "train", world.recipe, "--out", out, "--set", "train.runs=2")
        assert answer.status == 0, answer.error
        logs = [out / "training" / name / "log.jsonl" for name in ("", "run-2")]
        losses = [entry["loss"] for log in logs for _, entry in read_objects(log)]
        return losses, torch.from_numpy(open_encoder(out / "model").encode_documents(["bread", "a lamp"]))

    started = []
    alone = tuning.side_by_side
    monkeypatch.setattr(tuning, "side_by_side", lambda work, seeds: (started.append(seeds), alone(work, seeds)))
    (losses, vectors), (others, same) = found(1), found(2)
    assert started == [[0, 1]]
    # A thread more adds in another order.
    assert others == pytest.approx(losses, abs=1e-4)
    assert len(set(losses)) == len(losses) == 8
    torch.testing.assert_close(same, vectors, atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can do it")
def test_what_this_machine_cannot_do_is_said_before_the_training(
    tmp_path: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = call(capsys, "train", world.recipe, "--out", tmp_path / "out", "--set", "train.method=qlora")
    assert answer.status == 2
    assert 'error: train.method "qlora" needs a CUDA GPU' in answer.error


def test_without_measurement_nothing_of_it_is_there(
    tmp_path: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert call(capsys, "train", world.recipe, "--out", out).status == 0
    assert not (out / "dev.jsonl").exists()
    assert sorted(path.name for path in (out / "training").iterdir()) == ["key", "log.jsonl", "state.pt"]
    assert "dev" not in json.loads((out / "manifest.json").read_text(encoding="utf-8"))["train"]
