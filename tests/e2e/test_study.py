"""A study through the command line: cells share what is equal, a kill costs nothing, a failure stops no other cell."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from command import World, call, small_world
from embedloom.run import read_objects

STUDY = """
name = "two"
question = "Mean or last?"
base = ["{recipe}"]
reference = "last"
limit = 6
[every]
eval.sets = ["path:{sts}", "path:{absent}"]
train.save_every = 2
[cells.last]
paper = 64.5
[cells.mean]
paper = 64.1
train.pooling = "mean"
train.max_steps = 9
[cells.again]
title = "the same as last"
[cells.second]
title = "tuned again from another cell's model"
train.base = "cell:mean"
train.prompt = "prefix"
[cells.merged]
merge = ["last", "again"]
[cells.words]
model = "sif:{base}"
[cells.lexical]
model = "bm25"
[cells.written]
until = "curate"
"""


def study_of(world: World, folder: Path, more: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    words = (("the", "a"), ("bread", "of"), ("river", "in"), ("stone", "on"), ("copper", "at"), ("old", "by"))
    rows = [
        {"sentence1": f"about {one} ovens", "sentence2": f"{other} and ovens", "score": number % 5}
        for number, (one, other) in enumerate(words)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    path = folder / "two.toml"
    text = STUDY.format(recipe=world.recipe, sts=folder / "pairs.jsonl", absent=folder / "absent", base=world.base)
    path.write_text(text + more, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return small_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def finished(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that was killed in the middle of its second cell, and then finished."""
    folder = tmp_path_factory.mktemp("study")
    file, out = study_of(world, folder), folder / "out"
    command = [sys.executable, "-m", "embedloom", "study", str(file), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    state = out / "cells" / "mean" / "training" / "state.pt"
    while not state.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    _, said = process.communicate()
    assert process.returncode == -signal.SIGKILL, said
    assert not (out / "cells" / "mean" / "measured.jsonl").exists()
    assert "not run yet" in (out / "study.md").read_text(encoding="utf-8")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{folder / 'absent'} is not there; it is left out" in done.stderr
    return out


def figures(out: Path) -> list[dict[str, object]]:
    """What a study says, but for the time it took."""
    return [{key: obj[key] for key in obj if key != "seconds"} for _, obj in read_objects(out / "study.jsonl")]


def manifest(out: Path, cell: str) -> dict[str, dict[str, object]]:
    return json.loads((out / "cells" / cell / "manifest.json").read_text(encoding="utf-8"))


def test_a_killed_study_ends_as_an_undisturbed_one(
    world: World, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = study_of(world, tmp_path)
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(f"{tmp_path / 'pairs.jsonl'}", f"{finished.parent / 'pairs.jsonl'}"), encoding="utf-8")
    answer = call(capsys, "study", file, "--out", tmp_path / "out")
    assert answer.status == 0, answer.error
    assert figures(tmp_path / "out") == figures(finished)


def test_what_is_equal_is_done_once(finished: Path) -> None:
    last, again, mean = (manifest(finished, cell) for cell in ("last", "again", "mean"))
    assert not any(entry.get("taken") for entry in last.values())
    assert all(again[stage]["taken"] for stage in ("corpus", "generate", "curate", "mix", "train", "measure"))
    assert again["train"]["fingerprint"] == last["train"]["fingerprint"]
    assert all(mean[stage]["taken"] for stage in ("corpus", "generate", "curate", "mix"))
    assert not mean["train"].get("taken")
    assert mean["train"]["fingerprint"] != last["train"]["fingerprint"]


def test_every_kind_of_cell_is_in_the_table(finished: Path) -> None:
    means = {obj["cell"]: obj for _, obj in read_objects(finished / "study.jsonl") if obj["task"] == "mean"}
    assert set(means) == {"last", "mean", "again", "second", "merged", "words", "lexical", "written"}
    assert means["again"]["difference"] == 0
    assert means["merged"]["value"] == pytest.approx(means["last"]["value"])
    assert {"difference", "verdict"} <= set(means["mean"])
    assert "value" not in means["lexical"], "BM25 measures retrieval alone"
    assert means["written"]["data"]["rows kept"] > 10
    assert means["last"]["prompts"] == 20
    assert means["last"]["tokens"] > 0
    assert means["words"]["tokens"] == 0
    stored = json.loads((finished / "cells" / "second" / "model" / "embedloom.json").read_text(encoding="utf-8"))
    assert stored["base"] == f"path:{finished / 'cells' / 'mean' / 'model'}"
    assert stored["contract"]["prompt"] == "prefix"
    page = (finished / "study.html").read_text(encoding="utf-8")
    assert "Mean or last?" in page
    assert "http://" not in page


def test_a_second_time_nothing_is_left_to_do(world: World, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (finished / "study.jsonl").read_bytes()
    answer = call(capsys, "study", finished.parent / "two.toml", "--out", finished)
    assert answer.status == 0, answer.error
    stages = [line for line in answer.error.splitlines() if line and not line.startswith(("cell", "evaluation"))]
    assert stages
    assert all(line.endswith("done before") for line in stages), stages
    assert (finished / "study.jsonl").read_bytes() == before


def test_a_cell_that_fails_is_recorded_and_the_others_go_on(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = STUDY.split("[cells.last]")[0]
    file = study_of(world, tmp_path)
    cells = """
[cells.broken]
train.sources = [{ data = "path:nowhere.jsonl" }]
[cells.behind]
train.base = "cell:broken"
[cells.last]
model = "static:nothing"
[cells.words]
model = "sif:BASE"
"""
    text = head.format(recipe=world.recipe, sts=tmp_path / "pairs.jsonl", absent=tmp_path / "absent")
    file.write_text(text + cells.replace("BASE", str(world.base)), encoding="utf-8")
    only = ("--only", "behind", "--only", "words", "--only", "last")
    answer = call(capsys, "study", file, "--out", tmp_path / "out", *only)
    assert answer.status == 1
    said = {
        obj["cell"]: obj.get("failure", "")
        for _, obj in read_objects(tmp_path / "out" / "study.jsonl")
        if obj["task"] == "mean"
    }
    assert "nowhere.jsonl: no such file" in str(said["broken"])
    assert said["behind"] == "cell 'broken', which it needs, failed"
    assert "no static vectors" in str(said["last"])
    assert said["words"] == ""
    assert call(capsys, "study", file, "--only", "wrods").error == (
        "error: no cell 'wrods'; cells are broken, behind, last, words\n"
    )


def test_a_dry_run_tells_what_each_cell_changes(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = call(capsys, "study", study_of(world, tmp_path), "--dry-run", "--out", tmp_path / "out")
    assert answer.status == 0, answer.error
    assert "train.pooling = 'mean'" in answer.out
    assert "merges last, again (linear)" in answer.out
    assert "measures bm25; nothing is trained" in answer.out
    assert "absent is not there" in answer.out
    assert not (tmp_path / "out").exists()
