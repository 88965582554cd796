"""Encoding on a real Ray on this machine: the file of one process to the bit, also when a worker is killed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from embedloom.errors import MissingExtraError
from embedloom.scale.ray_engine import encode_on_ray
from killing import TESTS
from tiny import WORDS, save_tiny

# Ray warns of its next version's defaults, and leaves processes and files to the end of the one that started it: each
# test has a process of its own.
ON_RAY = """
import os, signal, sys
from functools import partial
from pathlib import Path

import ray

from embedloom.cli.opening import open_embedder
from embedloom.errors import EmbedloomError
from embedloom.scale.encode import encode_file, encode_here, vectors_of
from embedloom.scale.ray_engine import encode_on_ray

source, folder, model, other = map(Path, sys.argv[1:])
for attempt in range(3):
    try:
        ray.init(address="local", num_cpus=2, num_gpus=0, include_dashboard=False, object_store_memory=100 << 20)
        break
    except Exception:  # a busy machine that starts Ray for the first time needs longer than Ray waits
        ray.shutdown()
        if attempt == 2:
            raise
opened = partial(open_embedder, str(model))
here = opened()
told = vectors_of(here, texts=True)
on_ray = encode_on_ray(opened, workers=2)


def with_a_worker_killed(work, places):
    import psutil

    for number, made in enumerate(on_ray(work, places)):
        if number == 0:
            below = psutil.Process().children(recursive=True)
            workers = [process.pid for process in below if "MapWorker" in " ".join(process.cmdline())]
            print("workers", len(workers), flush=True)
            os.kill(workers[0], signal.SIGKILL)
        yield made


def encode(name, engine, source=source):
    encode_file(source, folder / name, told, engine, block_size=8)
"""
EQUAL = """
encode("here.parquet", encode_here(here))
encode("ray.parquet", on_ray)
encode("killed.parquet", with_a_worker_killed)
"""
WRONG = """
(folder / "bad.jsonl").write_text('{"text": "good"}\\nbad\\n')
for name, engine, rows in (("a", encode_on_ray(partial(open_embedder, str(other)), workers=1), source),
                           ("b", on_ray, folder / "bad.jsonl")):
    try:
        encode(name, engine, rows)
    except EmbedloomError as error:
        print(error, flush=True)
"""


def on_ray(tmp_path: Path, script: str) -> str:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed")
    words, source = WORDS.split(), tmp_path / "a.jsonl"
    lines = (json.dumps({"_id": f"d{n}", "text": " ".join(words[n % 7 :: 1 + n % 5])}) + "\n" for n in range(400))
    source.write_text("".join(lines))
    model, other = save_tiny(tmp_path / "model"), save_tiny(tmp_path / "other", seed=1)
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", ON_RAY + script, source, tmp_path, model, other],
        check=False, capture_output=True, text=True, timeout=500,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "RAY_agent_register_timeout_ms": "120000"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.big
def test_two_workers_and_a_killed_one_give_the_file_of_one_process(tmp_path: Path) -> None:
    assert "workers 2" in on_ray(tmp_path, EQUAL)
    expected = (tmp_path / "here.parquet").read_bytes()
    assert (tmp_path / "ray.parquet").read_bytes() == expected
    assert (tmp_path / "killed.parquet").read_bytes() == expected


@pytest.mark.big
def test_what_is_wrong_on_a_worker_is_one_sentence(tmp_path: Path) -> None:
    said = on_ray(tmp_path, WRONG)
    assert "give every machine the same model folder" in said
    assert "bad.jsonl: text 2 is not valid JSON" in said


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'embedloom\[ray\]'"):
        encode_on_ray(lambda: pytest.fail("not reached"))
