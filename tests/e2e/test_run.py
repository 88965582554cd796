"""The whole loop through the command line: a second time nothing is left to do, and what came out can be used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from command import World, call, small_world
from embedloom.records import Generation, Prompt
from embedloom.run import read_objects, read_records

STAGES = (
    "corpus", "tasks", "compose", "generate", "parse", "curate", "mix", "card", "train", "eval", "index", "search",
)  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return small_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def finished(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with every stage done. Tests that change it take a copy."""
    from embedloom.cli.run import command

    out = tmp_path_factory.mktemp("runs") / "small"
    command.main([str(world.recipe), "--out", str(out)], standalone_mode=False)
    return out


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a run, but for the cache of vectors, which is a database."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("vectors.sqlite")
    }


def test_every_stage_left_what_it_says(finished: Path) -> None:
    manifest = json.loads((finished / "manifest.json").read_text(encoding="utf-8"))
    assert tuple(manifest) == STAGES
    kept, dropped = manifest["parse"]["kept"], manifest["parse"]["rejects"]
    assert (kept, dropped) == (18, 2)
    assert manifest["curate"]["kept"] + manifest["curate"]["rejects"] == kept
    assert manifest["mix"]["rows"] == manifest["curate"]["kept"] + 10
    rules = [obj["rule"] for _, obj in read_objects(finished / "rejects" / "parse.jsonl")]
    assert sorted(rules) == ["echoed-prompt", "no-json"]
    scores = [obj for _, obj in read_objects(finished / "scores.jsonl")]
    assert {score["model"] for score in scores} == {"base", "bm25", "tuned"}
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "tuned" in page
    assert "where bread is baked" in page
    evaluated = {obj["_id"] for _, obj in read_objects(finished / "known-item" / "queries.jsonl")}
    written_for = {prompt.passage_id for prompt in read_records(finished / "prompts.jsonl", Prompt)}
    assert not evaluated & written_for, "a query was written for a passage that is evaluated on"


def test_a_second_run_does_nothing_and_changes_nothing(
    world: World, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(finished)
    answer = call(capsys, "run", world.recipe, "--out", finished)
    assert answer.status == 0, answer.error
    assert [line.split() for line in answer.error.splitlines()] == [[stage, "done", "before"] for stage in STAGES]
    assert files(finished) == before


@pytest.mark.parametrize("changed", ["train.learning_rate=0.01", "train.seed=1"])
def test_a_changed_setting_does_again_what_depends_on_it(
    world: World, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: str
) -> None:
    copy = shutil.copytree(finished, tmp_path / "copy")
    answer = call(capsys, "run", world.recipe, "--out", copy, "--set", changed, "--until", "eval")
    assert answer.status == 0, answer.error
    before = [line.split()[0] for line in answer.error.splitlines() if line.endswith("done before")]
    assert tuple(before) == STAGES[: STAGES.index("train")]
    weights = "model/model.safetensors"
    assert (copy / weights).read_bytes() != (finished / weights).read_bytes()


def test_several_trainings_are_averaged(
    world: World, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(finished, tmp_path / "copy")
    answer = call(capsys, "run", world.recipe, "--out", copy, "--set", "train.runs=2", "--until", "train")
    assert answer.status == 0, answer.error
    one, two = ((copy / "training" / name / "state.pt") for name in ("", "run-2"))
    first, second = (torch.load(path, weights_only=True) for path in (one, two))
    assert first["step"] == second["step"]
    assert not all(torch.equal(a, b) for a, b in zip(first["copies"], second["copies"], strict=True))
    logs = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))["train"]
    assert logs["steps"] == 2 * json.loads((finished / "manifest.json").read_text(encoding="utf-8"))["train"]["steps"]
    alone, mean = (load_file(folder / "model" / "model.safetensors") for folder in (finished, copy))
    assert any(not torch.equal(alone[name], mean[name]) for name in alone)


def test_answers_of_another_seed_are_kept_and_taken_up_again(
    world: World, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(finished, tmp_path / "copy")
    before = (copy / "generations.jsonl").read_bytes()
    call(capsys, "run", world.recipe, "--out", copy, "--set", "llm.temperature=0.1", "--until", "generate")
    # The script is gone: a prompt that was asked again would be an error.
    moved = world.script.with_suffix(".moved")
    text = world.recipe.read_text(encoding="utf-8")
    assert "temperature" not in text
    world.script.rename(moved)
    try:
        answer = call(capsys, "run", world.recipe, "--out", copy, "--until", "generate")
    finally:
        moved.rename(world.script)
    assert answer.status == 0, answer.error
    assert (copy / "generations.jsonl").read_bytes() == before


def test_another_corpus_leaves_nothing_of_the_first(
    world: World, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(finished, tmp_path / "copy")
    corpus = tmp_path / "corpus.jsonl"
    rows = [
        {"_id": f"d{n}", "title": "", "text": f"The {n}th ship brings salt and rope to the pier."} for n in range(4)
    ]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    answer = call(
        capsys, "run", world.recipe, "--out", copy, "--until", "compose", "--set", f"corpus.source=path:{corpus}"
    )
    assert answer.status == 0, answer.error
    assert not (copy / "known-item").exists()
    assert {prompt.passage_id for prompt in read_records(copy / "prompts.jsonl", Prompt)} == {f"d{n}" for n in range(4)}


def test_dry_run_shows_prompts_and_asks_nothing(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = call(capsys, "run", world.recipe, "--out", tmp_path / "dry", "--dry-run", "2")
    assert answer.status == 0, answer.error
    assert len([line for line in answer.out.splitlines() if line.startswith("--- ")]) == 2
    assert "write search queries" in answer.out
    names = {path.name for path in (tmp_path / "dry").iterdir()}
    assert not names & {"generations.jsonl", "prompts.jsonl", "train.jsonl", "model"}


def test_dry_run_of_step_one_asks_nothing_either(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", world.recipe, "--out", tmp_path / "dry", "--dry-run", "2"]
    answer = call(capsys, *arguments, "--set", "brainstorm.families=['short-long']")
    assert answer.status == 0, answer.error
    assert len([line for line in answer.out.splitlines() if line.startswith("--- ")]) == 2
    assert "brainstorm" in answer.out.lower()
    assert not (tmp_path / "dry" / "task_generations.jsonl").exists()


def test_a_folder_of_ones_own_in_place_of_the_recipes_corpus(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = shutil.copytree(world.texts, tmp_path / "my texts, 'mine' = [x]")
    answer = call(capsys, "run", world.recipe, "--corpus", texts, "--out", tmp_path / "own", "--until", "compose")
    assert answer.status == 0, answer.error
    recipe = json.loads((tmp_path / "own" / "recipe.json").read_text(encoding="utf-8"))["recipe"]
    assert recipe["name"] == texts.name
    assert recipe["corpus"]["source"] == str(texts)
    assert len(list(read_records(tmp_path / "own" / "prompts.jsonl", Prompt))) == 20


def test_each_prompt_was_answered_once(finished: Path) -> None:
    asked = [prompt.id for prompt in read_records(finished / "prompts.jsonl", Prompt)]
    answered = [reply.prompt_id for reply in read_records(finished / "generations.jsonl", Generation)]
    assert sorted(asked) == sorted(answered)
    assert len(set(asked)) == 20


def test_check_proves_the_checkpoint_and_sees_a_changed_tokenizer(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = call(capsys, "check", finished / "model")
    assert answer.status == 0, answer.error
    assert "sentence-transformers, queries: largest difference" in answer.out
    for name, changed, message in (
        ("tokenizer.json", "spaces", "fingerprint is"),
        ("tokenizer.json", "merges", "token ids than the checkpoint was trained with"),
        ("config.json", "spaces", "fingerprint is"),
    ):
        copy = shutil.copytree(finished / "model", tmp_path / f"{name}-{changed}")
        content = json.loads((copy / name).read_text(encoding="utf-8"))
        if changed == "merges":
            content["model"]["merges"] = content["model"]["merges"][:-60]
        (copy / name).write_text(json.dumps(content, indent=7), encoding="utf-8")
        answer = call(capsys, "check", copy)
        assert (answer.status, answer.error.count("\n")) == (2, 1), answer
        assert message in answer.error


def test_eval_prints_and_writes_its_scores(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "scores.jsonl"
    answer = call(
        capsys, "eval", finished / "model", finished / "known-item", "--out", out, "--cache", tmp_path / "c.sqlite"
    )
    assert answer.status == 0, answer.error
    scores = [obj for _, obj in read_objects(out)]
    assert len(answer.out.splitlines()) == len(scores) > 0
    for line, score in zip(answer.out.splitlines(), scores, strict=True):
        assert f"{score['value']:.4f}" in line
        assert score["metric"] in line
        assert score["interval"][0] <= score["value"] <= score["interval"][1]
    plain = call(capsys, "eval", "bm25", finished / "known-item")
    assert plain.status == 0, plain.error
    assert "ndcg" in plain.out.lower()
    main = {(s["metric"], s["value"]) for s in scores}
    tuned = {(o["metric"], o["value"]) for _, o in read_objects(finished / "scores.jsonl") if o["model"] == "tuned"}
    assert main == tuned


def test_index_and_search_from_the_command_line(
    world: World, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, model = tmp_path / "index", finished / "model"
    answer = call(capsys, "index", model, world.texts, "--out", place, "--instruction", "Find the text")
    assert answer.status == 0, answer.error
    assert "12 documents" in answer.out
    answer = call(capsys, "search", place, "bread", "boats at sea", "--model", model, "-k", "3")
    assert answer.status == 0, answer.error
    assert len(answer.out.splitlines()) == 2 * 4
    assert answer.out.splitlines()[0] == "bread"
    other = call(capsys, "search", place, "bread", "--model", world.base)
    assert (other.status, other.error.count("\n")) == (2, 1)
    assert "fingerprint" in other.error
    again = call(capsys, "index", model, world.texts, "--out", place)
    assert (again.status, again.error.count("\n")) == (2, 1), again.error
