"""A training killed without warning, twice, ends with the weights of an undisturbed one."""

from __future__ import annotations

from pathlib import Path

import torch

from embedloom.run import read_records
from embedloom.train.loop import LOG_FILE, StepLog
from embedloom.train.state import steps_done
from killing import kill, start
from toy_training import figures, toy_training, weights

SCRIPT = """
import sys, time
from pathlib import Path
from toy_training import toy_training
print("ready", flush=True)

def told(log):
    print(log.step, flush=True)
    time.sleep(0.03)

toy_training(Path(sys.argv[1]), on_step=told)
"""


def test_a_killed_training_goes_on_to_the_same_digits(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    whole, logs = toy_training(tmp_path / "whole")
    parts = tmp_path / "parts"
    reached = []
    for until in ("4\n", "7\n"):
        process = start(SCRIPT, parts)
        assert process.stdout is not None
        lines = []
        while not lines or lines[-1] != until:
            lines.append(process.stdout.readline())
            assert lines[-1], "the training ended early"
        kill(process)
        reached.append(int(lines[0]))
    # The second start went on behind the state of the first, and did not begin anew.
    assert reached == [0, 3]
    assert steps_done(parts) == 6
    assert len(list(read_records(parts / LOG_FILE, StepLog))) >= 7
    resumed, again = toy_training(parts)
    assert figures(again) == figures(logs)
    assert weights(resumed) == weights(whole)
    assert sorted(path.name for path in parts.iterdir()) == sorted(path.name for path in (tmp_path / "whole").iterdir())
