"""Two processes that make the same model ready at once, and one that is killed while it does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from killing import kill, start

SCRIPT = """
import importlib.metadata, sys, time
from pathlib import Path
from embedloom.model.registry import REGISTRY, RegistryModel, registry_folder
from embedloom.run import file_hash

source, pause = Path(sys.argv[1]), float(sys.argv[2])
importlib.metadata.version = lambda _: "1.0"

def locate(scratch):
    (scratch / "half").write_text("made by hand")
    print("making", flush=True)
    time.sleep(pause)
    return source

digest = file_hash(source / "model.safetensors", "sha256")
REGISTRY["tiny"] = RegistryModel("tiny", "tiny", "1.0", digest, "tiny", "CC0", locate, "model.safetensors")
print("ready", flush=True)
print(registry_folder("tiny").name, flush=True)
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMBEDLOOM_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "source"
    place.mkdir()
    (place / "model.safetensors").write_bytes(os.urandom(1 << 20))
    return place


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_two_processes_at_once_make_one_folder(source: Path, tmp_path: Path) -> None:
    processes = [start(SCRIPT, source, 0.5) for _ in range(2)]
    printed = [process.communicate()[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(map(len, printed)) == [1, 2], "one makes it, the other waits and finds it"
    assert printed[0][-1] == printed[1][-1]
    assert names(tmp_path / "cache") == [printed[0][-1]]


def test_a_kill_leaves_no_half_folder(source: Path, tmp_path: Path) -> None:
    process = start(SCRIPT, source, 60)
    assert process.stdout is not None
    assert process.stdout.readline() == "making\n"
    kill(process)
    assert not any(name.startswith("tiny-") for name in names(tmp_path / "cache"))
    again = start(SCRIPT, source, 0)
    printed = again.communicate()[0].split()
    assert printed[0] == "making"
    assert names(tmp_path / "cache") == [printed[1]]
    made = tmp_path / "cache" / printed[1] / "model.safetensors"
    assert made.read_bytes() == (source / "model.safetensors").read_bytes()
