"""Our figures against mteb's own, on task objects with the same data: one of each family, without network."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedloom.errors import DataError
from embedloom.evals.mteb_model import MtebModel, mteb_model
from embedloom.evals.mteb_tasks import mteb_sets, task_sets
from embedloom.evals.suite import EvalSet, discover, evaluate
from embedloom.evals.suites import limited
from word_embedder import WordEmbedder

pytestmark = [
    pytest.mark.slow,
    # Of mteb and of what it imports: they aren't ours to mend.
    pytest.mark.filterwarnings("ignore:.*"),
]

TOPICS = ("apple pear plum fig cherry", "saw hammer drill axe nail", "sun moon star cloud rain", "cat dog cow hen goat")
ALL_WORDS = " ".join(TOPICS).split()
METADATA: dict[str, Any] = {
    "description": "made by a test",
    "reference": None,
    "dataset": {"path": "none", "revision": "none"},
    "category": "t2t",
    "eval_splits": ["test"],
    "eval_langs": ["eng-Latn"],
    "date": ("2022-01-01", "2022-01-02"),
    "dialect": [],
    "domains": [],
    "task_subtypes": [],
    "license": "cc-by-4.0",
    "annotations_creators": "derived",
    "modalities": ["text"],
    "sample_creation": "found",
    "bibtex_citation": "",
}


class RoleEmbedder(WordEmbedder):
    """Its vectors depend on the instruction and on blanks at the ends: a text that is encoded otherwise has another."""

    def encode_documents(self, texts: Any, *, progress: Any = None) -> Any:
        return super().encode_documents([f"{text} {text == text.strip()}" for text in texts], progress=progress)

    def encode_queries(self, texts: Any, instruction: str, *, progress: Any = None) -> Any:
        return super().encode_queries([f"{text} {instruction}" for text in texts], instruction, progress=progress)


@pytest.fixture(autouse=True)
def global_generators_stay_as_they_are() -> Iterator[None]:
    """mteb seeds them on import and with each task."""
    before = random.getstate(), np.random.get_state()
    yield
    random.setstate(before[0])
    np.random.set_state(before[1])


def phrases(count: int, seed: int, words: list[str] = ALL_WORDS) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(words, k=draw.randint(2, 6))) for _ in range(count)]


def columns(**values: list[Any]) -> Any:
    return pytest.importorskip("datasets").Dataset.from_dict(values)


def task_of(parent: str, kind: str, main: str, dataset: Any, **attributes: Any) -> Any:
    """An mteb task with its data in memory."""
    mteb = pytest.importorskip("mteb", reason="mteb is not installed (embedloom[mteb])")
    import mteb.abstasks as families

    metadata = mteb.TaskMetadata(name=f"Made{kind}", type=kind, main_score=main, **METADATA)
    content = {"metadata": metadata, "eval_splits": ["test"], **attributes}
    task = type(f"Made{kind}", (getattr(families, parent),), content)()
    task.dataset, task.data_loaded = dataset, True
    return task


def retrieval_task(*, reranking: bool = False, own_id: bool = False) -> Any:
    draw = random.Random(3)
    corpus = [
        {"id": f"d{i}", "text": f" {text}", "title": "fig" if i % 7 == 0 else ""}
        # A number of its own: between equal documents, rounding decides.
        for i, text in enumerate(f"{text} {i}" for i, text in enumerate(phrases(90, 1)))
    ]
    # A query is about three documents, which are judged: every third has some of its words.
    about = [[corpus[3 * i], *draw.sample(corpus, 2)] for i in range(25)]
    queries = [
        {
            "id": rows[0]["id"] if own_id else f"q{i}",
            "text": " ".join(word for row in rows for word in row["text"].split()[: 1 + i % 3]),
        }
        for i, rows in enumerate(about)
    ]
    ids = [row["id"] for row in corpus]
    candidates = {
        row["id"]: list(dict.fromkeys([*(one["id"] for one in rows), *draw.sample(ids, 20)]))
        for row, rows in zip(queries, about, strict=True)
    }
    top = 1 if reranking else 2
    judged = {
        query: {identity: draw.randint(1, top) if place < 3 else 0 for place, identity in enumerate(found[:5])}
        for query, found in candidates.items()
    }
    datasets = pytest.importorskip("datasets")
    part = {
        "corpus": datasets.Dataset.from_list(corpus),
        "queries": datasets.Dataset.from_list(queries),
        "relevant_docs": judged,
        "top_ranked": candidates if reranking else None,
    }
    kind, main = ("Reranking", "map_at_1000") if reranking else ("Retrieval", "ndcg_at_10")
    return task_of("AbsTaskRetrieval", kind, main, {"default": {"test": part}}, ignore_identical_ids=own_id)


def sts_task() -> Any:
    left, right = phrases(60, 4), phrases(60, 5)
    # Pairs of equal sentences have cosine 1, all of them.
    right[:12] = left[:12]
    shared = [len({*a.split()} & {*b.split()}) for a, b in zip(left, right, strict=True)]
    scores = [float(min(5, both) + random.Random(i).choice([0, 1, 2])) for i, both in enumerate(shared)]
    data = {"test": columns(sentence1=left, sentence2=right, score=scores)}
    return task_of("AbsTaskSTS", "STS", "cosine_spearman", data)


def pair_task() -> Any:
    left, right = phrases(60, 6), phrases(60, 7)
    right[:9] = left[:9]
    labels = [int(i < 9 or random.Random(i).random() < 0.4) for i in range(60)]
    labels[3] = 0
    data = {"test": columns(sentence1=left, sentence2=right, labels=labels)}
    return task_of("AbsTaskPairClassification", "PairClassification", "max_ap", data)


def bitext_task() -> Any:
    left = phrases(50, 8)
    right = [f"{text} {noise}" for text, noise in zip(left, phrases(50, 9), strict=True)]
    return task_of("AbsTaskBitextMining", "BitextMining", "f1", {"test": columns(sentence1=left, sentence2=right)})


def labelled(count: int, seed: int) -> tuple[list[str], list[int]]:
    draw = random.Random(seed)
    labels = [draw.randrange(4) for _ in range(count)]
    texts = [" ".join([*draw.choices(TOPICS[label].split(), k=2), *draw.choices(ALL_WORDS, k=4)]) for label in labels]
    return texts, labels


def classification_task() -> Any:
    (train, known), (test, gold) = labelled(90, 10), labelled(70, 11)
    datasets = pytest.importorskip("datasets")
    data = datasets.DatasetDict(train=columns(text=train, label=known), test=columns(text=test, label=gold))
    return task_of("AbsTaskClassification", "Classification", "accuracy", data)


def clustering_task() -> Any:
    texts, labels = labelled(80, 12)
    data = {"test": columns(sentences=texts, labels=labels)}
    limits = {"max_document_to_embed": 60, "max_fraction_of_documents_to_embed": None}
    more = {"max_documents_per_cluster": 300, "n_clusters": 3}
    return task_of("AbsTaskClustering", "Clustering", "v_measure", data, **limits, **more)


RANKED = {"ndcg@10": "ndcg_at_10", "recall@10": "recall_at_10", "recall@100": "recall_at_100", "mrr@10": "mrr_at_10"}
CASES = {
    "retrieval": (retrieval_task, RANKED),
    "retrieval, queries from the corpus": (lambda: retrieval_task(own_id=True), RANKED),
    "reranking": (
        lambda: retrieval_task(reranking=True),
        {"map": "map_at_1000", "mrr@10": "mrr_at_10", "ndcg@10": "ndcg_at_10"},
    ),
    "sts": (sts_task, {"spearman": "cosine_spearman"}),
    "pair-classification": (
        pair_task,
        {"ap": "cosine_ap", "max_ap": "max_ap", "accuracy": "cosine_accuracy", "f1": "cosine_f1"},
    ),
    "bitext": (bitext_task, {"f1": "f1", "accuracy": "accuracy"}),
    "classification": (classification_task, {"accuracy": "accuracy", "macro_f1": "f1"}),
    "clustering": (clustering_task, {"v_measure": "v_measure"}),
}


@pytest.mark.parametrize("family", CASES)
def test_our_figures_equal_those_of_mteb(family: str) -> None:
    make, names = CASES[family]
    mteb = pytest.importorskip("mteb", reason="mteb is not installed (embedloom[mteb])")
    embedder = RoleEmbedder()
    result = mteb.evaluate(mteb_model(embedder), make(), cache=None, co2_tracker=False, show_progress_bar=False)
    theirs = result.task_results[0].scores["test"][0]
    asked_by_mteb = {(role, instruction) for role, instruction, _ in embedder.asked}
    embedder.asked.clear()
    (found,) = task_sets(make(), "test")
    assert family.startswith(found.family)
    told: list[int] = []
    (ours,) = evaluate(embedder, [found], progress=told.append)
    assert {(role, instruction) for role, instruction, _ in embedder.asked} == asked_by_mteb
    assert sum(told) == found.text_count
    figures = {measure.name: measure.estimate.value for measure in ours.measures}
    for name, of_mteb in names.items():
        # mteb rounds some figures to five digits, and those are equal when ours is rounded too.
        rounded = theirs[of_mteb] == round(theirs[of_mteb], 5)
        assert (round(figures[name], 5) if rounded else figures[name]) == pytest.approx(theirs[of_mteb], abs=1e-6), name
    # A figure of 0 or 1 would be equal for many reasons.
    assert 0.05 < ours.main.estimate.value < 0.99
    assert ours.items.mean() == pytest.approx(ours.main.estimate.value) or family == "sts"


def test_it_is_an_encoder_of_mteb_and_says_whose_results_these_are() -> None:
    mteb = pytest.importorskip("mteb", reason="mteb is not installed (embedloom[mteb])")
    embedder = WordEmbedder()
    model = mteb_model(embedder, instruction="Find it")
    assert isinstance(model, mteb.EncoderProtocol)
    assert isinstance(model, MtebModel)
    assert (model.mteb_model_meta.name, model.mteb_model_meta.revision) == ("embedloom/words", "w0")
    mteb.evaluate(model, sts_task(), cache=None, co2_tracker=False, show_progress_bar=False)
    assert {instruction for _, instruction, _ in embedder.asked} == {"Find it"}


def test_what_is_measured_in_a_way_of_its_own_is_refused() -> None:
    pytest.importorskip("mteb", reason="mteb is not installed (embedloom[mteb])")
    for task in (
        task_of("AbsTaskClustering", "Clustering", "v_measure", {"test": columns(sentences=["a"], labels=[[1, 2]])}),
        task_of("AbsTaskRetrieval", "Retrieval", "ndcg_at_10", {}, skip_first_result=True),
        task_of("AbsTaskClassification", "Classification", "accuracy", {}, is_cross_validation=True),
        task_of("AbsTaskSTS", "Summarization", "cosine_spearman", {}),
    ):
        with pytest.raises(DataError, match=r"run mteb\.evaluate\(mteb_model\(embedder\)"):
            task_sets(task, "test")


def test_a_name_or_data_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    mteb = pytest.importorskip("mteb", reason="mteb is not installed (embedloom[mteb])")
    with pytest.raises(DataError, match="mteb:STSBenchmrk: .*Did you mean: 'STSBenchmark'"):
        mteb_sets("STSBenchmrk")
    task = sts_task()
    task.data_loaded = False
    monkeypatch.setattr(type(task), "load_data", lambda self, **_: (_ for _ in ()).throw(ConnectionError("offline")))
    monkeypatch.setattr(mteb, "get_task", lambda name: task)
    with pytest.raises(DataError, match=r"mteb:STSBenchmark: its data 'none' is not in the hub's cache"):
        mteb_sets("STSBenchmark")
    monkeypatch.setattr(type(task), "eval_splits", ["dev", "test"])
    with pytest.raises(DataError, match="has no split 'train'; expected one of dev, test"):
        mteb_sets("STSBenchmark", split="train")


SHARED = Path(os.environ.get("EMBEDLOOM_SHARED") or Path(__file__).parents[3] / "shared") / "data"


def real_reranking() -> tuple[Any, list[EvalSet]]:
    (found,) = discover(SHARED / "reranking" / "hotpotqa-dev500")
    part = limited(found, rows=60)
    distinct = dict.fromkeys(text for row in part.rows for text in row.positives + row.negatives)
    texts = {text: f"d{n}" for n, text in enumerate(distinct)}
    queries = [{"id": f"q{n}", "text": row.query} for n, row in enumerate(part.rows)]
    datasets = pytest.importorskip("datasets")
    content = {
        "corpus": datasets.Dataset.from_list([{"id": name, "text": text, "title": ""} for text, name in texts.items()]),
        "queries": datasets.Dataset.from_list(queries),
        "relevant_docs": {f"q{n}": {texts[text]: 1 for text in row.positives} for n, row in enumerate(part.rows)},
        "top_ranked": {
            f"q{n}": [texts[text] for text in (*row.negatives, *row.positives)] for n, row in enumerate(part.rows)
        },
    }
    return task_of("AbsTaskRetrieval", "Reranking", "map_at_1000", {"default": {"test": content}}), [part]


def real_bitext() -> tuple[Any, list[EvalSet]]:
    (found,) = discover(SHARED / "bitext" / "tatoeba" / "swh-eng.jsonl")
    columns_of = {key: [getattr(row, key) for row in found.rows] for key in ("sentence1", "sentence2")}
    return task_of("AbsTaskBitextMining", "BitextMining", "f1", {"test": columns(**columns_of)}), [found]


def real_clustering() -> tuple[Any, list[EvalSet]]:
    (found,) = discover(SHARED / "clustering" / "sib200-eng")
    data = {"test": columns(sentences=[r.text for r in found.rows], labels=[r.label for r in found.rows])}
    limits = {"max_document_to_embed": 1004, "max_fraction_of_documents_to_embed": None}
    more = {"max_documents_per_cluster": 16_384, "n_clusters": 10}
    return task_of("AbsTaskClustering", "Clustering", "v_measure", data, **limits, **more), [found]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data sets are not beside the repository")
@pytest.mark.parametrize(
    ("read", "family"), [(real_reranking, "reranking"), (real_bitext, "bitext"), (real_clustering, "clustering")]
)
def test_our_figures_of_local_files_equal_those_of_mteb(
    read: Callable[[], tuple[Any, list[EvalSet]]], family: str
) -> None:
    mteb = pytest.importorskip("mteb", reason="mteb is not installed (embedloom[mteb])")
    task, sets = read()
    result = mteb.evaluate(mteb_model(WordEmbedder()), task, cache=None, co2_tracker=False, show_progress_bar=False)
    theirs = result.task_results[0].scores["test"][0]
    (ours,) = evaluate(WordEmbedder(), sets)
    for measure in ours.measures:
        of_mteb = theirs.get(CASES[family][1].get(measure.name, ""))
        if of_mteb is not None:
            rounded = round(measure.estimate.value, 5) if of_mteb == round(of_mteb, 5) else measure.estimate.value
            assert rounded == pytest.approx(of_mteb, abs=1e-6), measure.name
    assert 0.01 < ours.main.estimate.value < 0.99
