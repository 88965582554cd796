"""A rank that is killed, or stands still, ends the others within a known time, and leaves a state to go on from."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from embedloom.run import read_records
from embedloom.train.loop import LOG_FILE, StepLog
from embedloom.train.state import steps_done
from ranks import Ranks
from toy_training import SETTINGS, toy_training

KILLED = -signal.SIGKILL
AT = 4
"""The step behind which a rank comes to harm; the state is that of three steps."""


@pytest.fixture(scope="module")
def ranks() -> Iterator[Ranks]:
    with Ranks() as server:
        yield server


def goes_on(folder: Path, tmp_path: Path) -> None:
    """What the ranks left is whole, and one process alone brings it to the end of an undisturbed training."""
    assert steps_done(folder) == 3
    assert len(list(read_records(folder / LOG_FILE, StepLog))) >= 4
    _, logs = toy_training(tmp_path / "whole", dropout=0.0)
    _, again = toy_training(folder, dropout=0.0)
    np.testing.assert_allclose([log.loss for log in again], [log.loss for log in logs], atol=1e-5)
    assert sorted(path.name for path in folder.iterdir()) == ["log.jsonl", "state.pt"]


@pytest.mark.parametrize(
    ("victim", "count", "weights"), [(1, 3, "replicated"), (0, 2, "replicated"), (1, 2, "sharded")]
)
def test_a_killed_rank_ends_the_others_with_a_sentence(
    tmp_path: Path, ranks: Ranks, victim: int, count: int, weights: str
) -> None:
    torch.set_num_threads(1)
    folder = tmp_path / "parts"
    arguments = (str(folder), SETTINGS.steps, AT, 0.0, "kill", victim)
    ended = ranks.start("rank_cases:training", count, tmp_path / "out", *arguments, weights=weights, limit=120)
    assert ended.statuses.pop(victim) == KILLED
    ended.printed.pop(victim)
    for status, printed in zip(ended.statuses, ended.printed, strict=True):
        assert status not in (0, None), "it did not end"
        said = [line for line in printed.splitlines() if "goes on behind the last saved step" in line]
        assert said, printed
        assert f"process {victim}" in said[0], printed
    goes_on(folder, tmp_path)


def test_a_rank_that_stands_still_ends_the_others(tmp_path: Path, ranks: Ranks) -> None:
    """Nothing is closed and nothing fails: only its silence tells."""
    folder = tmp_path / "parts"
    arguments = (str(folder), SETTINGS.steps, AT, 0.0, "freeze", 1, 8.0)
    ended = ranks.start("rank_cases:training", 2, tmp_path / "out", *arguments, survivors=1, limit=120)
    assert ended.statuses == [2, None], ended.printed
    assert "error: process 1 of 2 has not been heard of for 8 s" in ended.printed[0]
    goes_on(folder, tmp_path)
