"""Rows made of raw text: a text and itself, a title and its text, a passage and the next one of its file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from command import small_world
from embedloom.cli.factory import Factory
from embedloom.cli.mixing import mix
from embedloom.cli.pipeline import Run
from embedloom.data.known_item import Item
from embedloom.data.weak_pairs import neighbours, same_text, title_body
from embedloom.errors import RecipeError
from embedloom.recipe import load_recipe
from embedloom.records import Example
from embedloom.run import RunFolder, read_objects, read_records

ITEMS = [Item("1", "a", "one", "first text"), Item("2", "a", "two", "second text"), Item("3", "b", "", "third text")]


def test_kinds_of_pairs() -> None:
    assert [(row.query, row.positives) for row in same_text(["A b.", "c", "a  b", " "])] == [
        ("A b.", ("A b.",)), ("c", ("c",)),
    ]  # fmt: skip
    assert [(row.query, row.positives) for row in title_body(ITEMS)] == [
        ("one", ("first text",)), ("two", ("second text",)),
    ]  # fmt: skip
    rows = list(neighbours(ITEMS, instruction="Find the next"))
    assert [(row.instruction, row.query, row.positives, row.source) for row in rows] == [
        ("Find the next", "first text", ("second text",), "neighbours")
    ]


def mixed(folder: Path, *sources: str, more: Sequence[str] = ()) -> list[Example]:
    world = small_world(folder)
    settings = ["generate.counts={grounded=0}", f"train.sources=[{', '.join(sources)}]", *more]
    run = Run(load_recipe([world.recipe], settings), RunFolder(folder / "run"))
    Factory(run).do("corpus")
    mix(run)
    return list(read_records(run.folder / "train.jsonl", Example))


def test_pairs_of_the_runs_passages_are_none_that_are_evaluated_on(tmp_path: Path) -> None:
    rows = mixed(tmp_path, '{ data = "passages", pairs = "title-body" }')
    asked = {str(obj["text"]) for _, obj in read_objects(tmp_path / "run" / "known-item" / "queries.jsonl")}
    passages = {str(obj["text"]) for _, obj in read_objects(tmp_path / "run" / "passages.jsonl")}
    assert rows
    assert asked
    assert not asked & {row.query for row in rows}
    assert {text for row in rows for text in row.positives} <= passages


@pytest.mark.parametrize("pairs", ["same-text", "title-body"])
def test_the_runs_passages_may_stand_in_the_corpus_that_is_searched(tmp_path: Path, pairs: str) -> None:
    source = f'{{ data = "passages", pairs = "{pairs}" }}'
    rows = mixed(tmp_path, source)
    beir = tmp_path / "run" / "known-item"
    again = mixed(tmp_path / "again", source, more=[f"eval.sets=['path:{beir}']"])
    assert rows
    assert [row.query for row in again] == [row.query for row in rows]


def test_same_text_of_a_file_and_families_left_out(tmp_path: Path) -> None:
    world = small_world(tmp_path / "w")
    rows = mixed(tmp_path / "x", f'{{ data = "path:{world.rows}", pairs = "same-text" }}')
    assert len(rows) == 20
    assert all(row.positives == (row.query,) for row in rows)
    kept = mixed(tmp_path / "y", '{ data = "sample:llm-written", leave_out = ["sts", "bitext"] }')
    assert {row.family for row in kept} == {"short-long", "long-short", "short-short", "long-long"}


def test_passages_alone_are_no_rows(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="passages are no rows yet; set pairs"):
        mixed(tmp_path, '{ data = "passages" }')
