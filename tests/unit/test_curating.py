"""The stages between replies and training rows, in a run folder: settings of the recipe do what they say."""

import json
from pathlib import Path

import pytest

from embedloom.cli.curating import curate, parse
from embedloom.cli.describing import card
from embedloom.cli.pipeline import Run
from embedloom.errors import DataError
from embedloom.recipe import load_recipe
from embedloom.records import Document, Generation, Task
from embedloom.run import RunFolder, read_objects, write_records
from embedloom.synth.compose import compose

REPLIES = (
    ("When was the old gate rebuilt in brick?", "After the flood the gate was built again, of brick."),
    ("Which road leads from the mill to the harbour?", "There is one road, along the river."),
    ("Who keeps the key of the lighthouse now?", "The key is with the baker at the corner."),
    ("Das ist eine Frage auf Deutsch, und zwar eine recht lange?", "Und das ist die Antwort darauf, auch auf Deutsch."),
    ("Write to keeper@example.com for the key of the tower", "It is the keeper who has the key of the tower."),
)


def run_with(folder: Path, *settings: str) -> Run:
    """A run whose five prompts are answered, the last but one in German."""
    recipe = load_recipe([], ['generate.counts={ "short-short" = 5 }', *settings])
    run = Run(recipe, RunFolder(folder))
    tasks = [Task("short-short", "Match them.")]
    prompts = list(compose(seed=1, counts={"short-short": 5}, style="chat", tasks=tasks, languages={"English": 1}))
    write_records(folder / "prompts.jsonl", prompts)
    texts = [json.dumps({"input": query, "positive_document": answer}) for query, answer in REPLIES]
    made = [Generation(prompt.id, text, "m", 1, 1, "stop") for prompt, text in zip(prompts, texts, strict=True)]
    write_records(folder / "generations.jsonl", made[::-1])
    write_records(folder / "passages.jsonl", [Document("p", "a text")])
    parse(run)
    return run


def rules(run: Run) -> dict[str, int]:
    found: dict[str, int] = {}
    for _, obj in read_objects(run.folder / "rejects" / "curate.jsonl"):
        found[obj["rule"]] = found.get(obj["rule"], 0) + 1
    return found


def test_by_default_everything_sound_in_the_right_language_stays(tmp_path: Path) -> None:
    pytest.importorskip("pycld2")
    run = run_with(tmp_path)
    curate(run)
    assert rules(run) == {"wrong-language": 1}
    assert run.folder.manifest()["curate"]["kept"] == 4
    card(run)
    page = (tmp_path / "data.html").read_text(encoding="utf-8")
    assert "generator is small" in page
    assert "English 1" in page
    assert "80 %" in (tmp_path / "data.md").read_text(encoding="utf-8")


def test_checks_that_are_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = tmp_path / "sets" / "own"
    sets.mkdir(parents=True)
    row = {"sentence1": "WHICH road leads from the mill to the harbour", "sentence2": "x"}
    (sets / "test.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    run = run_with(
        tmp_path / "run",
        'curate.language="off"',
        "curate.personal_data=true",
        'curate.decontaminate=["eval"]',
        f"eval.sets={json.dumps([str(sets)])}",
    )
    curate(run)
    assert rules(run) == {"in-evaluation": 1, "personal-data": 1}
    card(run)
    text = (run.folder / "data.md").read_text(encoding="utf-8")
    assert "query: the same as a query of own" in text
    assert "Languages were not checked" in text
    capsys.readouterr()
    curate(run)
    assert "done before" in capsys.readouterr().err
    (sets / "test.jsonl").write_text(json.dumps({**row, "sentence1": "another sentence"}) + "\n", encoding="utf-8")
    curate(run)
    assert rules(run) == {"personal-data": 1}


def test_a_set_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    run = run_with(tmp_path, f'curate.decontaminate=["{tmp_path}/absent"]')
    with pytest.raises(DataError, match="absent: no such file or folder"):
        curate(run)
