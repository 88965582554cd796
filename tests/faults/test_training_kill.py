"""A training killed without warning, twice, ends with the weights of an undisturbed one."""

from __future__ import annotations

from pathlib import Path

import torch

from embedloom.run import read_records
from embedloom.train.loop import LOG_FILE, StepLog
from embedloom.train.state import best_score, steps_done, trained
from killing import kill, start
from toy_training import figures, finds_its_own, toy_training, weights

SCRIPT = """
import sys, time
from pathlib import Path
from toy_training import finds_its_own, toy_training
print("ready", flush=True)

def told(log):
    print(log.step, flush=True)
    time.sleep(0.03)

toy_training(Path(sys.argv[1]), on_step=told, development=finds_its_own())
"""


def test_a_killed_training_goes_on_to_the_same_digits(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    whole, logs = toy_training(tmp_path / "whole", development=finds_its_own())
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
    resumed, again = toy_training(parts, development=finds_its_own())
    assert figures(again) == figures(logs)
    assert weights(resumed) == weights(whole)
    # And what was best so far is known across the kills.
    assert best_score(parts) == best_score(tmp_path / "whole")
    assert weights(trained(resumed, parts)) == weights(trained(whole, tmp_path / "whole"))
    assert sorted(path.name for path in parts.iterdir()) == sorted(path.name for path in (tmp_path / "whole").iterdir())
