"""The paper's labelled sets by name, out of a hub cache that has them: rows, shares, and what is said without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from embedloom.cli.mixing import mix
from embedloom.cli.pipeline import Run
from embedloom.data.paper_mix import REPOSITORY, SETS, paper_set, read_triplets
from embedloom.data.training_rows import read_source
from embedloom.errors import DataError
from embedloom.recipe import load_recipe
from embedloom.records import Example
from embedloom.run import RunFolder, read_records

REVISION = "0123456789abcdef0123456789abcdef01234567"
RECIPE = Path(__file__).parents[2] / "recipes" / "paper.toml"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The snapshot folder of the repository in an empty cache, read by the hub's own client without a network."""
    folder = tmp_path / "hub" / f"datasets--{REPOSITORY.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(REVISION, encoding="utf-8")
    snapshot = folder / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return snapshot


def write(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def questions(count: int) -> list[dict[str, object]]:
    return [
        {"query": f"how deep is lake {n}", "positive": f"Lake {n} is deep.", "negative": f"Hill {n} is high."}
        for n in range(count)
    ]


def test_a_set_is_read_from_the_hubs_cache(cache: Path) -> None:
    write(cache / "nq.jsonl", questions(3))
    rows = list(read_source("paper:nq"))
    assert [row.query for row in rows] == [f"how deep is lake {n}" for n in range(3)]
    assert (rows[0].positives, rows[0].negatives) == (("Lake 0 is deep.",), ("Hill 0 is high.",))
    assert {(row.source, row.instruction) for row in rows} == {("paper:nq", SETS["nq"].instructions[0])}
    assert {row.instruction for row in read_source("paper:nq", instruction="My own")} == {"My own"}


def test_a_set_of_two_tasks_has_both_instructions_the_same_every_time(cache: Path) -> None:
    write(cache / "allnli.jsonl", questions(40))
    rows = list(read_source("paper:nli"))
    assert {row.instruction for row in rows} == set(SETS["nli"].instructions)
    assert rows == list(read_source("paper:nli"))


def test_a_mixture_takes_the_papers_share(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(cache / "quora_duplicates.jsonl", questions(30))
    write(cache / "nq.jsonl", [{"query": f"who made lake {n}", "positive": f"Ice made lake {n}."} for n in range(6)])
    small = {name: paper_set(f"paper:{name}") for name in ("quora", "nq")}
    assert small["quora"] is not None
    assert small["quora"].rows == 10_200
    monkeypatch.setattr("embedloom.data.paper_mix.PaperSet.rows", property(lambda own: round(40 * own.share)))
    sources = 'train.sources=[{data = "paper:quora"}, {data = "paper:nq"}]'
    run = Run(load_recipe([], [sources]), RunFolder(tmp_path / "run"))
    mix(run)
    taken = [row.source for row in read_records(run.folder / "train.jsonl", Example)]
    assert (taken.count("paper:quora"), taken.count("paper:nq")) == (4, 6)


def test_the_papers_recipe_names_every_set_and_comes_to_the_papers_rows() -> None:
    recipe = load_recipe([RECIPE])
    named = [source.data for source in recipe.train.sources]
    assert sorted(named) == sorted(f"paper:{name}" for name in SETS)
    rows = sum(own.rows for name in named if (own := paper_set(name)) is not None)
    # 1.8M examples in all, of which 500k are synthetic; a tenth more or less by how the sets are counted.
    assert rows + sum(recipe.generate.counts.values()) == pytest.approx(1.8e6, rel=0.1)


def test_what_is_not_there_says_what_to_do(cache: Path) -> None:
    with pytest.raises(DataError, match=r"unknown set 'paper:snli'; there is paper:eli5, paper:hotpotqa"):
        list(read_source("paper:snli"))
    with pytest.raises(DataError, match=rf"run `hf download --repo-type dataset {REPOSITORY} nq\.jsonl`"):
        list(read_source("paper:nq"))


def test_without_cache_or_network_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"echo-data is not in the local cache and the hub can't be reached"):
        list(read_source("paper:fever"))


def test_only_the_sets_own_file_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def snapshot(repository: str, **told: object) -> str:
        asked.append((repository, told["repo_type"], told["allow_patterns"]))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    write(tmp_path / "mrtydi.jsonl", questions(1))
    assert len(list(read_source("paper:mr-tydi"))) == 1
    assert asked == [(REPOSITORY, "dataset", ["mrtydi.jsonl"])]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"positive": "a"}, "key 'query': expected text"),
        ({"query": " ", "positive": "a"}, "key 'query': expected text"),
        ({"query": "a", "positive": []}, "key 'positive': expected a text, or a list"),
        ({"query": "a", "positive": "b", "negative": 3}, "key 'negative': expected a text, or a list"),
    ],
)
def test_a_malformed_row_is_named(tmp_path: Path, row: dict[str, object], said: str) -> None:
    path = tmp_path / "rows.jsonl"
    write(path, [{"query": "a", "positive": ["b", "c"], "negative": []}, row])
    with pytest.raises(DataError, match=said) as fault:
        list(read_triplets(path, instructions=("Find",), source="rows"))
    assert "2" in str(fault.value)
