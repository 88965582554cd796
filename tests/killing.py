"""Runs a script in a process of its own and kills it without warning."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).parent


def start(script: str, *arguments: object, stdin: int | None = None) -> subprocess.Popen[str]:
    """Starts a script that can import what the tests can; returns once it has printed `ready`."""
    places = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=stdin,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def kill_after(script: str, *arguments: object, seconds: float) -> list[str]:
    """Starts a script, kills it some time after it printed `ready`, and returns the whole lines it printed."""
    process = start(script, *arguments)
    time.sleep(seconds)
    return kill(process)


def kill(process: subprocess.Popen[str]) -> list[str]:
    """Kills a process and returns the whole lines that were still to be read."""
    process.send_signal(signal.SIGKILL)
    printed, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, "the process ended before it was killed"
    return printed.split("\n")[:-1]
