"""What a training leaves on disk: the state from which it goes on, and the weights that were best so far.

The state names its best weights, which lie in a file of their own, and the file of those before them goes only when a
state that names the new ones is there. A kill at any moment leaves a state whose best weights are there too.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from embedloom.errors import RunError

if TYPE_CHECKING:
    from torch import nn

    from embedloom.train.engine import Engine

M = TypeVar("M", bound="nn.Module")
STATE_FILE = "state.pt"
DIVERGED = "lower train.learning_rate or raise train.warmup; the training then begins anew"
"""What to do where the weights are no numbers any more. Such weights are never saved."""


@dataclass(frozen=True, slots=True)
class Best:
    """The highest score of a training so far, and the number of steps behind which it was reached."""

    step: int
    score: float


def steps_done(folder: Path) -> int:
    """Steps whose result is on disk."""
    state = load_state(folder)
    return 0 if state is None else int(state["step"])


def trained(model: M, folder: Path) -> M:
    """Gives the weights of `model` that require gradients the best values of a training, and returns it.

    Where nothing was measured these are those of the last state.

    Raises:
        RunError: the file of the best weights is gone.
    """
    state = load_state(folder)
    assert state is not None
    found = best_of(state)
    copies = state["copies"] if found is None else _best_copies(folder, found)
    with torch.no_grad():
        for parameter, stored in zip((p for p in model.parameters() if p.requires_grad), copies, strict=True):
            parameter.copy_(stored)
    return model


def best_score(folder: Path) -> float | None:
    """The highest score of a training, where it was measured."""
    state = load_state(folder)
    found = None if state is None else best_of(state)
    return None if found is None else found.score


def load_state(folder: Path) -> dict[str, Any] | None:
    """The last state, or None where there is none.

    Raises:
        RunError: it can't be read.
    """
    path = folder / STATE_FILE
    if not path.exists():
        return None
    loaded = _read(path)
    if not {"identity", "step", "copies", "optimizer"} <= set(loaded):
        raise RunError(f"{path} can't be read; delete {folder} to train from the start")
    return loaded


def best_of(state: dict[str, Any]) -> Best | None:
    """What the state says of the best weights."""
    found = state.get("best")
    return None if found is None else Best(int(found["step"]), float(found["score"]))


def save_state(folder: Path, identity: str, step: int, engine: Engine, best: Best | None = None) -> None:
    """Writes the state; every process calls it, since weights may have to be put together, and the first one writes.

    Raises:
        RunError: the weights are no numbers any more.
    """
    state = {"identity": identity, "step": step, **engine.state(keep=engine.rank == 0)}
    if best is not None:
        state["best"] = {"step": best.step, "score": best.score}
    if engine.rank != 0:
        return
    _check_numbers(state["copies"], step)
    _write(folder / STATE_FILE, state)
    forget_other_bests(folder, best)


def save_best(folder: Path, step: int, engine: Engine) -> None:
    """Writes the weights as they are; every process calls it, and the first one writes."""
    copies = engine.state(keep=engine.rank == 0)["copies"]
    if engine.rank == 0:
        _check_numbers(copies, step)
        _write(_best_file(folder, step), {"copies": copies})


def _check_numbers(copies: Sequence[torch.Tensor], step: int) -> None:
    # Not every engine's norm tells it: DeepSpeed's masks what is none.
    if not all(bool(copy.isfinite().all()) for copy in copies):
        raise RunError(f"the weights behind step {step} are no numbers; {DIVERGED}")


def forget_other_bests(folder: Path, best: Best | None) -> None:
    """Removes the weights that no state names any more."""
    kept = None if best is None else _best_file(folder, best.step)
    for path in folder.glob("best-*.pt"):
        if path != kept:
            path.unlink()


def _best_copies(folder: Path, best: Best) -> list[torch.Tensor]:
    path = _best_file(folder, best.step)
    found = _read(path) if path.exists() else {}
    if "copies" not in found:
        raise RunError(f"{path}, the best weights, is gone or can't be read; delete {folder} to train from the start")
    copies: list[torch.Tensor] = found["copies"]
    return copies


def _best_file(folder: Path, step: int) -> Path:
    return folder / f"best-{step}.pt"


def _read(path: Path) -> dict[str, Any]:
    try:
        # Mapped: who asks for the step alone reads no weights.
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except OSError:
        raise
    except Exception:  # what a damaged file raises is the reader's affair, and differs from version to version
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _write(path: Path, value: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.partial")
    with open(temporary, "wb") as file:
        torch.save(value, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
