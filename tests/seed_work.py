"""What processes side by side are given to do; they find it here, where pytest's own modules can't be imported."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from embedloom.errors import MissingExtraError


def leave_threads(folder: Path, number: int) -> None:
    """Leaves the process and its number of threads in a file of that number, and waits for another's."""
    import torch

    (folder / str(number)).write_text(f"{os.getpid()} {torch.get_num_threads()}", encoding="utf-8")
    until = time.monotonic() + 120
    while len(list(folder.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.05)


def fail(number: int) -> None:
    """Fails with an error that can't be sent to another process as it is; not the first."""
    if number:
        raise MissingExtraError("trackio", "track")


def die(folder: Path, number: int) -> None:
    """Leaves a mark, and is killed; not the first."""
    (folder / str(number)).touch()
    if number:
        os.kill(os.getpid(), signal.SIGKILL)
