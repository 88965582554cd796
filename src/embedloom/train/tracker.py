"""Figures of a training for a viewer that follows it: TensorBoard or trackio."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from embedloom.errors import MissingExtraError

if TYPE_CHECKING:
    from embedloom.train.development import Measurement
    from embedloom.train.loop import StepLog


class Tracker(Protocol):
    """Takes the figures behind so many steps."""

    def track(self, step: int, figures: Mapping[str, float]) -> None:
        """Records figures by their names."""


class Untracked:
    """Keeps nothing."""

    def track(self, step: int, figures: Mapping[str, float]) -> None:
        """Does nothing."""


@contextmanager
def tracker(
    kind: str, folder: Path, *, project: str, name: str, done: int, settings: Mapping[str, Any]
) -> Iterator[Tracker]:
    """A tracker, closed behind the block.

    Args:
        kind: `none`, `tensorboard` (event files below `folder`) or `trackio` (its own store, `trackio show` opens it).
        folder: of the training.
        project: what trackio files the run under.
        name: of the run; the same name goes on with the same run.
        done: steps that were tracked before; what was recorded behind them is done again.
        settings: shown with the run.

    Raises:
        MissingExtraError: its package is not installed.
    """
    if kind == "tensorboard":
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError:
            raise MissingExtraError("tensorboard", "tensorboard") from None
        with SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1 if done else None) as writer:
            yield _TensorBoard(writer)
    elif kind == "trackio":
        try:
            import trackio
        except ModuleNotFoundError:
            raise MissingExtraError("trackio", "trackio") from None
        # Standard output is the command's own; what trackio says is for people.
        with contextlib.redirect_stdout(sys.stderr):
            run = trackio.init(project=project, name=name, config=dict(settings), resume="allow", embed=False)
        try:
            yield _Trackio(run)
        finally:
            with contextlib.redirect_stdout(sys.stderr):
                trackio.finish()
    else:
        yield Untracked()


def track_step(to: Tracker, log: StepLog) -> None:
    """Loss, gradient norm, learning rate and tokens a second of a step."""
    to.track(
        log.step + 1,
        {
            "train/loss": log.loss,
            "train/gradient_norm": log.gradient_norm,
            "train/learning_rate": log.learning_rate,
            "train/tokens_per_second": log.tokens / log.seconds,
        },
    )


def track_measurement(to: Tracker, found: Measurement) -> None:
    """The mean and the figure of each development set."""
    to.track(found.step, {"dev/mean": found.score, **{f"dev/{name}": value for name, value in found.sets.items()}})


class _TensorBoard:
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def track(self, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)
        # A viewer follows the training, and a kill loses nothing.
        self._writer.flush()


class _Trackio:
    def __init__(self, run: Any) -> None:
        self._run = run

    def track(self, step: int, figures: Mapping[str, float]) -> None:
        self._run.log(dict(figures), step=step)
