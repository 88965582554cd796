"""A process of the curation killed from outside: the run ends with a sentence, and the same command goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from embedloom.records import Example
from embedloom.run import read_records, write_records

SENTENCE = "error: a process that checks rows was killed, perhaps for want of memory; set curate.processes=1\n"

# Small portions, so that a small file goes to several processes as a large one does.
CURATE = """
import sys
from pathlib import Path
from embedloom.cli import main, run
from embedloom.cli.curating import curate
from embedloom.curate import portions

portions.SIZE = 4000
run.do_stages = lambda found, until: curate(found)
if __name__ == "__main__":
    sys.argv[0] = "embedloom"
    main.main()
"""


def workers(process: int) -> list[int]:
    """The processes that check rows: children that were started to run a function."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process and b"spawn_main" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except (OSError, ValueError, IndexError):
            continue
    return found


def started(script: Path, folder: Path) -> subprocess.Popen[str]:
    recipe = folder / "recipe.toml"
    recipe.write_text("[curate]\nprocesses = 2\nlanguage = 'off'\n", encoding="utf-8")
    command = [sys.executable, script, "run", recipe, "--out", folder / "run"]
    return subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes by /proc")
def test_a_killed_process_of_the_curation_ends_the_run_with_a_sentence(tmp_path: Path) -> None:
    script = tmp_path / "curate.py"
    script.write_text(CURATE, encoding="utf-8")
    rows = [Example("Find it.", f"birds of harbour {n}", (f"what {n} people wrote of {n}",)) for n in range(300)]
    write_records(tmp_path / "run" / "examples.jsonl", rows)
    process = started(script, tmp_path)
    while not (found := workers(process.pid)):
        assert process.poll() is None, "it ended before a process was started"
        time.sleep(0.005)
    os.kill(found[0], signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2
    assert said.endswith(SENTENCE)
    assert "Traceback" not in said
    left = sorted(path.name for path in (tmp_path / "run").rglob("*") if path.is_file())
    assert left == [".lock", "examples.jsonl", "recipe.json"], "nothing half made stands in the run folder"

    again = started(script, tmp_path)
    _, said = again.communicate()
    assert again.returncode == 0, said
    assert list(read_records(tmp_path / "run" / "curated.jsonl", Example)) == rows
    entry = json.loads((tmp_path / "run" / "manifest.json").read_text(encoding="utf-8"))["curate"]
    assert (entry["kept"], entry["rejects"]) == (300, 0)
