"""Trainings in processes of their own: each gets its share of the cores, and what goes wrong in one is told."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from embedloom.cli import tuning
from embedloom.cli.side_by_side import side_by_side
from embedloom.errors import EmbedloomError, RunError
from embedloom.workers import cores
from seed_work import die, fail, leave_threads

pytestmark = pytest.mark.slow


def test_each_has_a_process_and_its_share_of_the_cores(tmp_path: Path) -> None:
    side_by_side(partial(leave_threads, tmp_path), [0, 2])
    processes, threads = zip(*((tmp_path / name).read_text(encoding="utf-8").split() for name in "02"), strict=True)
    assert len({*processes, str(os.getpid())}) == 3
    assert all(1 <= int(count) <= max(1, cores() // 2) for count in threads)


def test_what_one_could_not_do_is_told() -> None:
    with pytest.raises(EmbedloomError, match=r"trackio is not installed; run: pip install 'embedloom\[track\]'"):
        side_by_side(fail, [0, 1])


def test_a_killed_one_ends_all_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="was killed, perhaps for want of memory"):
        side_by_side(partial(die, tmp_path), [0, 1])
    assert (tmp_path / "1").exists()


@pytest.mark.parametrize(("count", "runs", "least_memory", "expected"), [
    (2, 2, 2, [0, 1]), (2, 3, 3, [0, 1, 2]), (1, 3, 3, []), (2, 1, 1, []), (2, 3, 2, []),
])  # fmt: skip
def test_more_trainings_than_cores_take_turns_where_memory_lets_them(
    count: int, runs: int, least_memory: int, expected: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planned(_: Any, *, at_once: int = 1) -> Any:
        budget = 2048 if at_once <= least_memory else 512
        return SimpleNamespace(device=torch.device("cpu"), loop=SimpleNamespace(token_budget=budget, steps=5))

    monkeypatch.setattr(tuning, "plan", planned)
    monkeypatch.setattr(tuning, "cores", lambda: count)
    (tmp_path / "training").mkdir()
    recipe = SimpleNamespace(train=SimpleNamespace(runs=runs))
    run: Any = SimpleNamespace(recipe=recipe, processes=None, folder=tmp_path)
    assert tuning._at_once(run) == expected
