"""Trainings in processes of their own: each gets its share of the cores, and what goes wrong in one is told."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest
import torch

from embedloom.cli.side_by_side import side_by_side
from embedloom.errors import EmbedloomError, MissingExtraError, RunError
from embedloom.workers import cores

pytestmark = pytest.mark.slow


def leave_threads(folder: Path, number: int) -> None:
    (folder / str(number)).write_text(f"{os.getpid()} {torch.get_num_threads()}", encoding="utf-8")


def fail(number: int) -> None:
    if number:
        raise MissingExtraError("trackio", "track")


def die(number: int) -> None:
    if number:
        os.kill(os.getpid(), signal.SIGKILL)


def test_each_has_a_process_and_its_share_of_the_cores(tmp_path: Path) -> None:
    side_by_side(partial(leave_threads, tmp_path), [0, 2])
    processes, threads = zip(*((tmp_path / name).read_text(encoding="utf-8").split() for name in "02"), strict=True)
    assert len({*processes, str(os.getpid())}) == 3
    assert all(1 <= int(count) <= max(1, cores() // 2) for count in threads)


def test_what_one_could_not_do_is_told() -> None:
    with pytest.raises(EmbedloomError, match=r"trackio is not installed; run: pip install 'embedloom\[track\]'"):
        side_by_side(fail, [0, 1])


def test_a_killed_one_ends_all_with_a_sentence() -> None:
    with pytest.raises(RunError, match="was killed, perhaps for want of memory"):
        side_by_side(die, [0, 1])
