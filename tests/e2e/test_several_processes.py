"""`embedloom run` under torchrun: one process does the stages, all of them the training, and one speaks of an error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from command import World, call, small_world
from embedloom.run import read_objects

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return small_world(tmp_path_factory.mktemp("world"))


def launch(*arguments: object, weights: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Two processes; `weights` is what `accelerate launch` would add to their environment."""
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "embedloom"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(weights or {})}
    return subprocess.run(
        [sys.executable, *command, *map(str, arguments)], capture_output=True, text=True, env=environment, timeout=900
    )


def losses(folder: Path) -> list[float]:
    return [float(obj["loss"]) for _, obj in read_objects(folder / "training" / "log.jsonl")]


def test_two_processes_make_the_model_of_one(tmp_path: Path, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Sharded at that, so that the checkpoint is put together from the processes' parts."""
    plain = ["--set", "train.lora_dropout=0", "--until", "train"]
    several, alone = tmp_path / "several", tmp_path / "alone"
    sharded = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP"}
    done = launch("run", world.recipe, "--out", several, *plain, weights=sharded)
    assert done.returncode == 0, done.stderr[-3000:]
    # One process speaks.
    assert done.stderr.count("corpus ") == 1
    assert done.stderr.count("train on 2: 4 of 4 steps") == 1, done.stderr
    assert call(capsys, "run", world.recipe, "--out", alone, *plain).status == 0
    assert losses(several) == pytest.approx(losses(alone), abs=1e-5)
    # What two processes made counts as done for one, which goes on with the stages behind it.
    again = call(capsys, "run", world.recipe, "--out", several, "--set", "train.lora_dropout=0")
    assert again.status == 0, again.error
    assert "train      done before" in again.error
    assert json.loads((several / "manifest.json").read_text(encoding="utf-8"))["index"]["documents"] > 0
    assert call(capsys, "check", several / "model").status == 0


def test_an_error_of_the_first_process_ends_all_with_one_sentence(tmp_path: Path, world: World) -> None:
    ended = launch("run", world.recipe, "--out", tmp_path / "out", "--set", "train.batch_size=500")
    assert ended.returncode != 0
    assert ended.stderr.count("training rows are fewer than one batch of 500") >= 1
    ended = launch("run", tmp_path / "nowhere.toml")
    assert ended.returncode != 0
    assert ended.stderr.count("error: no recipe") == 1, ended.stderr
