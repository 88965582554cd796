"""Results for other readers: mteb's files as mteb reads them, and the head of a model card."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from embedloom.evals.measured import Figure, Measured
from embedloom.evals.mteb_results import METRICS, file_stem, model_index, model_meta, task_results


def line(task: str, family: str, *, limit: str = "", split: str = "test") -> Measured:
    figures = tuple(Figure(name, 0.5 + place / 100, 0.4, 0.6) for place, name in enumerate(METRICS[family]))
    return Measured("a model", "f0", task, family, split, task, "Find it", figures, 40, 2.5, limit)


LINES = [
    line("scifact", "retrieval"),
    line("xquad-de", "retrieval"),
    line("xquad-zh", "retrieval"),
    line("tatoeba-deu-eng", "bitext"),
    line("tatoeba-fra-eng", "bitext", limit="10 of 1,000 pairs"),
    line("sib200-swh", "classification"),
    line("sib200-zho_Hans", "clustering"),
    line("sts17-es-en", "sts"),
    line("STS17-en-en", "sts"),
    line("mine", "pair-classification", split="dev"),
]


def entries(found: dict[str, dict[str, Any]], task: str, split: str = "test") -> list[tuple[str, list[str]]]:
    return [(entry["hf_subset"], entry["languages"]) for entry in found[task]["scores"][split]]


def test_sets_of_mteb_get_its_names_and_subsets_and_a_part_of_one_does_not() -> None:
    found = task_results(LINES)
    assert entries(found, "SciFact") == [("default", ["eng-Latn"])]
    assert entries(found, "XQuADRetrieval") == [("de", ["deu-Latn"]), ("zh", ["zho-Hans"])]
    assert entries(found, "Tatoeba") == [("deu-eng", ["deu-Latn", "eng-Latn"])]
    assert entries(found, "SIB200Classification") == [("swh_Latn", ["swh-Latn"])]
    assert entries(found, "SIB200ClusteringS2S") == [("zho_Hans", ["zho-Hans"])]
    assert entries(found, "STS17") == [("es-en", ["spa-Latn", "eng-Latn"]), ("en-en", ["eng-Latn"])]
    assert entries(found, "mine", "dev") == [("default", ["und-Zyyy"])]
    (part,) = found["tatoeba-fra-eng"]["scores"]["test"]
    assert part["limit"] == "10 of 1,000 pairs"


def test_figures_have_the_names_of_mteb_and_its_main_one() -> None:
    found = task_results(LINES)
    (entry,) = found["SciFact"]["scores"]["test"]
    assert (entry["main_score"], entry["ndcg_at_10"], entry["mrr_at_10"]) == (0.5, 0.5, 0.53)
    assert entry["intervals"]["ndcg_at_10"] == [0.4, 0.6]
    (entry,) = found["mine"]["scores"]["dev"]
    assert (entry["main_score"], entry["max_ap"], entry["cosine_ap"]) == (0.51, 0.51, 0.5)
    assert found["XQuADRetrieval"]["evaluation_time"] == 5.0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*")
def test_mteb_reads_the_files(tmp_path: Path) -> None:
    pytest.importorskip("mteb", reason="mteb is not installed (embedloom[mteb])")
    results = importlib.import_module("mteb.results")
    for task, content in task_results(LINES).items():
        path = tmp_path / f"{file_stem(task)}.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        read = results.TaskResult.from_disk(path)
        assert read.task_name == task
        split = next(iter(content["scores"]))
        assert read.get_score() == pytest.approx(
            sum(entry["main_score"] for entry in content["scores"][split]) / len(content["scores"][split])
        )
    tatoeba = results.TaskResult.from_disk(tmp_path / "Tatoeba.json")
    assert tatoeba.task.metadata.main_score == "f1"
    assert json.dumps(model_meta("embedloom/a", "f0", 64))


def test_a_model_card_reads_its_index() -> None:
    from huggingface_hub import ModelCard

    card = ModelCard(model_index("a model", LINES), ignore_metadata_errors=False)
    found = {(one.dataset_name, one.metric_type): one for one in card.data.eval_results or []}
    assert len(found) == len(LINES)
    tatoeba = found["Tatoeba (deu-eng)", "f1"]
    assert (tatoeba.metric_value, tatoeba.dataset_type, tatoeba.task_type) == (
        50.0,
        "mteb/tatoeba-bitext-mining",
        "BitextMining",
    )
    assert tatoeba.metric_args == {"interval": [40.0, 60.0]}
    assert found["tatoeba-fra-eng", "f1"].dataset_args == {"part": "10 of 1,000 pairs"}


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("registry:minilm", "registry-minilm"),
        ("../runs/x/model", "runs-x-model"),
        ("a b", "a-b"),
        ("水", "水"),
        ("//", "model"),
    ],
)
def test_a_name_becomes_a_name_of_a_file(name: str, stem: str) -> None:
    assert file_stem(name) == stem
