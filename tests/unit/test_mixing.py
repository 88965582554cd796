"""The mixture of sources: each as often as it weighs, no row twice by accident, none that repeats an evaluation set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from embedloom.cli.developing import development
from embedloom.cli.mixing import HELD_OUT, hold_out, mix
from embedloom.cli.pipeline import Run
from embedloom.errors import RecipeError
from embedloom.recipe import load_recipe
from embedloom.records import Example
from embedloom.run import RunFolder, read_objects, read_records
from word_embedder import WordEmbedder


def source(path: Path, count: int, *, start: int = 0) -> Path:
    rows = [{"query": f"how deep is lake number {n}", "positives": [f"Lake {n} is deep."]} for n in range(start, count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def mixed(
    folder: Path, sources: list[dict[str, object]], *, sets: tuple[Path, ...] = (), more: tuple[str, ...] = ()
) -> Run:
    told = ", ".join(
        "{" + ", ".join(f"{key} = {json.dumps(value)}" for key, value in one.items()) + "}" for one in sources
    )
    settings = [f"train.sources=[{told}]", f"eval.sets={json.dumps([str(path) for path in sets])}", *more]
    run = Run(load_recipe([], settings), RunFolder(folder))
    mix(run)
    return run


def queries(run: Run) -> list[str]:
    return [row.query for row in read_records(run.folder / "train.jsonl", Example)]


def test_sources_weigh_and_a_row_of_two_sources_counts_once(tmp_path: Path) -> None:
    one, two = source(tmp_path / "one.jsonl", 4), source(tmp_path / "two.jsonl", 6, start=2)
    asked = {"instruction": "Answer"}
    run = mixed(
        tmp_path / "run",
        [{"data": f"path:{one}", "weight": 2.0, **asked}, {"data": f"path:{two}", "weight": 0.5, **asked}],
    )
    found = queries(run)
    assert [found.count(f"how deep is lake number {n}") for n in range(4)] == [2, 2, 2, 2]
    # Of the second source two rows are new, and half of them are taken.
    assert len(found) == 9
    assert run.folder.manifest()["mix"] | {"rows": 9, "rejects": 0} == run.folder.manifest()["mix"]


@pytest.mark.parametrize("gone", [1, 4])
def test_what_repeats_an_evaluation_set_is_not_trained_on(tmp_path: Path, gone: int) -> None:
    rows = source(tmp_path / "rows.jsonl", 4)
    sets = tmp_path / "lakes"
    (sets / "qrels").mkdir(parents=True)
    asked = [{"_id": str(n), "text": f"How deep is lake number {n}?"} for n in range(gone)]
    corpus = [{"_id": f"d{n}", "title": "", "text": f"Lake {n} is deep."} for n in range(4)]
    for name, objects in (("queries", asked), ("corpus", corpus)):
        (sets / f"{name}.jsonl").write_text("".join(json.dumps(obj) + "\n" for obj in objects), encoding="utf-8")
    judged = "".join(f"{n}\td{n}\t1\n" for n in range(gone))
    (sets / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged, encoding="utf-8")
    told: list[dict[str, object]] = [{"data": f"path:{rows}", "instruction": "Answer"}]
    if gone == 4:
        with pytest.raises(RecipeError, match="no training rows"):
            mixed(tmp_path / "run", told, sets=(sets,))
        return
    run = mixed(tmp_path / "run", told, sets=(sets,))
    assert queries(run) == [f"how deep is lake number {n}" for n in range(1, 4)]
    rejects = [obj for _, obj in read_objects(run.folder / "rejects" / "mix.jsonl")]
    assert [(obj["stage"], obj["rule"]) for obj in rejects] == [("mix", "in-evaluation")]
    assert rejects[0]["detail"] == "query: the same as a query of lakes"


def pairs(path: Path, count: int) -> Path:
    """A set of scored pairs whose sentences are the questions about lakes."""
    path.parent.mkdir(exist_ok=True)
    rows = [
        {"sentence1": f"How deep is lake number {n}?", "sentence2": f"a lake of {n} metres", "score": n}
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_rows_that_are_held_out_are_not_trained_on_nor_what_repeats_them(tmp_path: Path) -> None:
    rows = source(tmp_path / "rows.jsonl", 20)
    # The same questions with other answers.
    again = [{"query": f"How deep is lake number {n}?", "positives": [f"{n} metres."]} for n in range(20)]
    (tmp_path / "again.jsonl").write_text("".join(json.dumps(row) + "\n" for row in again), encoding="utf-8")
    told: list[dict[str, object]] = [
        {"data": f"path:{rows}", "instruction": "Answer", "weight": 2.0},
        {"data": f"path:{tmp_path / 'again.jsonl'}", "instruction": "Answer"},
    ]
    run = mixed(tmp_path / "run", told, more=("train.dev_share=0.1",))
    held = list(read_records(run.folder / HELD_OUT, Example))
    assert len(held) == 4
    numbers = {row.query.rstrip("?").split()[-1] for row in held}
    left = queries(run)
    assert not any(query.rstrip("?").split()[-1] in numbers for query in left)
    # What is left of the first source stands twice, as it weighs.
    assert len(left) == 3 * (20 - len(numbers))
    rejects = [obj for _, obj in read_objects(run.folder / "rejects" / "mix.jsonl")]
    assert {obj["rule"] for obj in rejects} == {"in-held-out"}
    assert rejects[0]["detail"] == "query: the same as a query of the held-out rows"
    found = development(run)
    assert found is not None
    figures = found.measure(WordEmbedder())
    assert list(figures) == ["held-out rows"]
    assert 0 < figures["held-out rows"] <= 1


def test_what_repeats_a_development_set_is_not_trained_on(tmp_path: Path) -> None:
    rows, dev = source(tmp_path / "rows.jsonl", 6), pairs(tmp_path / "lakes" / "dev.jsonl", 2)
    told: list[dict[str, object]] = [{"data": f"path:{rows}", "instruction": "Answer"}]
    run = mixed(tmp_path / "run", told, more=(f"train.dev={json.dumps([str(dev.parent)])}",))
    assert queries(run) == [f"how deep is lake number {n}" for n in range(2, 6)]
    found = development(run)
    assert found is not None
    assert list(found.measure(WordEmbedder())) == ["lakes"]
    # Other pairs make another measurement.
    pairs(dev, 3)
    other = development(run)
    assert other is not None
    assert other.identity != found.identity


def test_a_development_set_may_not_be_the_test(tmp_path: Path) -> None:
    rows, test = source(tmp_path / "rows.jsonl", 6), pairs(tmp_path / "lakes" / "test.jsonl", 2)
    told: list[dict[str, object]] = [{"data": f"path:{rows}", "instruction": "Answer"}]
    more = (f"train.dev={json.dumps([str(test.parent)])}",)
    run = mixed(tmp_path / "run", told, sets=(test.parent,), more=more)
    with pytest.raises(RecipeError, match=r"whose test part eval\.sets measures: .* give the folder a dev\.jsonl"):
        development(run)
    # The same set's own part for development is what it is for.
    pairs(tmp_path / "lakes" / "dev.jsonl", 2)
    assert development(run) is not None


def test_without_development_sets_nothing_is_measured(tmp_path: Path) -> None:
    rows = source(tmp_path / "rows.jsonl", 6)
    assert development(mixed(tmp_path / "run", [{"data": f"path:{rows}", "instruction": "Answer"}])) is None


def test_rows_of_one_passage_are_held_out_together() -> None:
    rows = [
        Example("Answer", f"question {n}", (f"Passage {n % 10} is long.",), family="grounded", passage_id=f"p{n % 10}")
        for n in range(40)
    ]
    held, left, repeats = hold_out([(rows, 1.0)], 0.1, 3)
    assert len({row.passage_id for row in held}) == 1
    assert len(held) == 4
    assert [row.id for part, _ in left for row in part] == [row.id for row in rows if row not in held]
    assert not repeats
    with pytest.raises(RecipeError, match="all of them are of one passage"):
        hold_out([(rows[::10], 1.0)], 0.1, 3)
