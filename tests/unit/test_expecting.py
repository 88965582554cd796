"""What an estimate counts: the rows of the recipe, or those on disk if they are the recipe's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command import World, call, small_world
from embedloom.cli.expecting import UNMADE_TOKENS, Expected, expected_rows
from embedloom.cli.factory import Factory
from embedloom.cli.mixing import mix
from embedloom.cli.pipeline import Run
from embedloom.errors import RecipeError
from embedloom.recipe import load_recipe
from embedloom.records import Example
from embedloom.run import RunFolder, read_records, write_records

NOTHING_WRITTEN = "generate.counts={grounded=0}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return small_world(tmp_path_factory.mktemp("world"))


def run_of(world: World, folder: Path, *settings: str) -> Run:
    return Run(load_recipe([world.recipe], settings), RunFolder(folder))


def expected(run: Run) -> Expected:
    return expected_rows(run, count_tokens=True)


def mixed(run: Run) -> list[Example]:
    run.folder.path.mkdir(parents=True, exist_ok=True)
    run.record()
    Factory(run).do("corpus")
    mix(run)
    return list(read_records(run.folder / "train.jsonl", Example))


@pytest.mark.parametrize("pairs", ["same-text", "title-body", "neighbours"])
def test_pairs_of_passages_are_counted_before_the_corpus_is_split(world: World, tmp_path: Path, pairs: str) -> None:
    sources = f'train.sources=[{{ data = "passages", pairs = "{pairs}" }}, {{ data = "path:{world.rows}" }}]'
    # What repeats an evaluation set is taken out later, and not foreseen.
    run = run_of(world, tmp_path / "run", NOTHING_WRITTEN, sources, "curate.decontaminate=[]")
    before = expected(run)
    assert not (tmp_path / "run").exists(), "an estimate writes nothing"
    rows = mixed(run)
    assert before.rows == len(rows)
    assert before.told == f"of {len(rows)} counted"
    after = expected(run)
    assert (after.rows, after.tokens, after.texts) == pytest.approx((before.rows, before.tokens, before.texts))
    assert before.texts == 2.0


def test_weights_limits_and_held_out_rows_are_those_of_the_mixture(world: World, tmp_path: Path) -> None:
    sources = f'train.sources=[{{ data = "path:{world.rows}", limit = 8, weight = 2.5 }}]'
    run = run_of(world, tmp_path / "run", NOTHING_WRITTEN, sources, "train.dev_share=0.25")
    assert expected(run).rows == 15
    assert len(mixed(run)) == 15
    assert expected(run).rows == 15


def test_rows_that_nobody_wrote_yet_are_as_in_the_paper(world: World, tmp_path: Path) -> None:
    alone = expected(run_of(world, tmp_path / "run", "train.sources=[]"))
    assert (alone.rows, alone.tokens) == (20, UNMADE_TOKENS)
    assert alone.told == "as in the paper's data: no rows are there yet"
    labelled = expected(run_of(world, tmp_path / "run", NOTHING_WRITTEN))
    both = expected(run_of(world, tmp_path / "run"))
    assert both.rows == 30
    assert both.tokens == pytest.approx((10 * labelled.tokens + 20 * UNMADE_TOKENS) / 30)
    assert both.told == "of 10 counted; 20 not made yet taken as in the paper's data"
    # A set of the paper's mix is not fetched to be counted.
    paper = 'train.sources=[{ data = "paper:nli", limit = 100, weight = 0.5 }]'
    assert expected(run_of(world, tmp_path / "run", NOTHING_WRITTEN, paper)).rows == 50


def test_negatives_that_will_be_mined_count_as_long_as_the_passage(world: World, tmp_path: Path) -> None:
    row = Example("Find it", "the red fox", ("a lazy dog",), family="grounded", passage_id="p")
    source = tmp_path / "rows.jsonl"
    write_records(source, [row])
    told = [NOTHING_WRITTEN, f'train.sources=[{{ data = "path:{source}" }}]']
    bare = expected(run_of(world, tmp_path / "run", *told))
    mined = expected(run_of(world, tmp_path / "run", *told, "mine.retriever=bm25", "mine.negatives=3"))
    assert (bare.texts, mined.texts) == (2.0, 3.0), "training takes one negative, train.hard_negatives"
    assert bare.tokens < mined.tokens < 2 * bare.tokens


def test_rows_of_another_recipe_in_the_folder_do_not_count(world: World, tmp_path: Path) -> None:
    mixed(run_of(world, tmp_path / "run", NOTHING_WRITTEN))
    other = run_of(world, tmp_path / "run", NOTHING_WRITTEN, 'train.sources=[{ data = "sample:llm-written" }]')
    assert expected(other).rows == 1820
    # How it is trained doesn't change the rows.
    same = run_of(world, tmp_path / "run", NOTHING_WRITTEN, "train.epochs=3", "train.runs=2")
    assert expected(same).rows == 10


def test_what_cannot_be_known_says_how_it_can(world: World, tmp_path: Path) -> None:
    passages = 'train.sources=[{ data = "passages", pairs = "title-body" }]'
    far = run_of(world, tmp_path / "run", NOTHING_WRITTEN, passages, "corpus.source=hub:nobody/nothing")
    with pytest.raises(RecipeError, match="not known before the corpus is there: embedloom run RECIPE --until corpus"):
        expected(far)
    with pytest.raises(RecipeError, match=r"set corpus\.source"):
        expected(run_of(world, tmp_path / "run", NOTHING_WRITTEN, passages, "corpus.source="))
    with pytest.raises(RecipeError, match="no training rows"):
        expected(run_of(world, tmp_path / "run", NOTHING_WRITTEN, "train.sources=[]"))


def test_recipes_are_merged_and_several_trainings_cost_several_times(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overlay = tmp_path / "passages.toml"
    overlay.write_text(
        "[generate]\ncounts = { grounded = 0 }\n[train]\nruns = 3\nmax_steps = 0\n"
        'sources = [{ data = "passages", pairs = "title-body" }]\n',
        encoding="utf-8",
    )
    out = ("--estimate", "--out", tmp_path / "run")
    answer = call(capsys, "train", world.recipe, overlay, *out)
    assert answer.status == 0, answer.error
    rows = int(answer.out.split("data ")[1].split(" rows")[0])
    steps = max(1, round(rows / 4))
    assert f"steps     {3 * steps} of 4 rows" in answer.out
    assert "in 3 trainings that are averaged" in answer.out
    once = call(capsys, "train", world.recipe, overlay, *out, "--set", "train.runs=1")
    assert f"steps     {steps} of 4 rows" in once.out
    assert "averaged" not in once.out
    assert not (tmp_path / "run").exists()


def test_a_damaged_record_of_the_folder_is_no_record_of_this_recipe(world: World, tmp_path: Path) -> None:
    run = run_of(world, tmp_path / "run", NOTHING_WRITTEN)
    mixed(run)
    (tmp_path / "run" / "recipe.json").write_text(json.dumps({"recipe": {"seed": 3}}), encoding="utf-8")
    write_records(run.folder / "train.jsonl", [])
    assert expected(run).rows == 10
