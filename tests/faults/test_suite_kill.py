"""`kill -9` while a suite is measured: what was encoded is never encoded again, and the figures are those of one go."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from killing import kill_after, start

MEASURE = """
import sys, time
import fakes
import embedloom.cli.eval, embedloom.evals.suites, embedloom.evals.measured, embedloom.evals.speed, rich.progress
from embedloom.cli import comparing

class Slow(fakes.HashEmbedder):
    def _encode(self, texts, progress):
        time.sleep(0.04)
        print("\\n".join(texts), flush=True)
        return super()._encode(texts, progress)

comparing.open_embedder = lambda name, **_: Slow()
import embedloom.model.vector_cache as cache
cache.WRITE_EVERY = 4
from embedloom.cli.main import cli
print("ready", flush=True)
cli(["eval", sys.argv[3], "--suite", sys.argv[1], "--results", sys.argv[2]], standalone_mode=False)
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    root = tmp_path / "sets"
    for language in ("deu", "fra", "swh"):
        rows = [{"sentence1": f"{language} one {n:03}", "sentence2": f"{language} two {n:03}"} for n in range(60)]
        path = root / "tatoeba" / f"{language}-eng.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return root


def encoded(printed: list[str]) -> list[str]:
    return [line for line in printed if " one " in line or " two " in line]


def figures(folder: Path) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_an_interrupted_suite_goes_on_and_encodes_nothing_twice(suite: Path, tmp_path: Path) -> None:
    folder, model = tmp_path / "results", tmp_path / "slow"
    # The model is looked for before anything is measured; what opens it is replaced.
    model.mkdir()
    (model / "config.json").write_text("{}", encoding="utf-8")
    written: list[str] = []
    for _ in range(3):
        printed = encoded(kill_after(MEASURE, suite, folder, model, seconds=0.7))
        assert set(written).isdisjoint(printed)
        # The group that was being encoded when the kill came may not have been written.
        written += printed[:-4]
    assert written
    rest = start(MEASURE, suite, folder, model)
    last, _ = rest.communicate()
    assert rest.returncode == 0
    assert set(written).isdisjoint(encoded(last.splitlines()))
    assert (folder / "report.html").exists()
    whole = start(MEASURE, suite, tmp_path / "at-once", model)
    at_once, _ = whole.communicate()
    texts = encoded(at_once.splitlines())
    assert len(texts) == len(set(texts)) == 360
    assert figures(folder) == figures(tmp_path / "at-once")
    # Done is done: not one text is asked for.
    again = start(MEASURE, suite, folder, model)
    assert encoded(again.communicate()[0].splitlines()) == []
