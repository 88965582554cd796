"""What the pages tell of a run folder."""

from __future__ import annotations

import json
from pathlib import Path

from embedloom.cli.run_history import tallies, training_scores, training_steps
from embedloom.evals.report import Tally, TrainingScore, TrainingStep, tally_view
from embedloom.records import Example, Reject
from embedloom.run import write_records


def test_a_run_that_did_nothing_yet_tells_nothing(tmp_path: Path) -> None:
    assert (training_steps(tmp_path), training_scores(tmp_path)) == ((), ())
    assert tallies(tmp_path, None) == tallies(tmp_path, tmp_path / "train.jsonl") == ()


def test_steps_and_scores_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    for name, lines in (
        ("log", [{"step": 0, "loss": 2.5, "tokens": 7}, {"step": 1, "loss": 2.0, "gradient_norm": 3.0}]),
        ("development", [{"step": 0, "score": 0.25, "figures": {}}, {"step": 1, "figures": {}}]),
    ):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / "training" / f"{name}.jsonl").write_text(text, encoding="utf-8")
    assert training_steps(tmp_path) == (TrainingStep(0, 2.5, 0, 0), TrainingStep(1, 2.0, 0, 3.0))
    assert training_scores(tmp_path) == (TrainingScore(0, 0.25),)


def test_every_row_is_counted_however_many_languages_there_are(tmp_path: Path) -> None:
    rows = [Example("i", f"q{n}", ("p",), family="sts", language=f"language {n}") for n in range(40)]
    write_records(tmp_path / "train.jsonl", [*rows, Example("i", "q", ("p",))])
    write_records(
        tmp_path / "rejects" / "parse.jsonl", [Reject("a", "parse", "no-json"), Reject("b", "parse", "no-json")]
    )
    families, languages, rules = tallies(tmp_path, tmp_path / "train.jsonl")
    assert families == Tally("Training rows by family", (("sts", 40), ("unnamed", 1)))
    assert rules.counts == (("parse: no-json", 2),)
    view = tally_view(languages)
    assert view.total == sum(count for _, count, _ in view.lines) == 41
