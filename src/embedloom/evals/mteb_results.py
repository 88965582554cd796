"""Results as others read them: one JSON file a task as mteb writes it, and the `model-index` of a model card.

Sets that are MTEB's own under another name get MTEB's, where all of them was measured; a part of a set keeps our name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from embedloom.data.languages import languages
from embedloom.evals.languages import task_language
from embedloom.evals.measured import Measured
from embedloom.records import content_id

METRICS: Mapping[str, Mapping[str, str]] = {
    "retrieval": {
        "ndcg@10": "ndcg_at_10",
        "recall@10": "recall_at_10",
        "recall@100": "recall_at_100",
        "mrr@10": "mrr_at_10",
    },
    "reranking": {"map": "map_at_1000", "mrr@10": "mrr_at_10", "ndcg@10": "ndcg_at_10"},
    "sts": {"spearman": "cosine_spearman"},
    "pair-classification": {"ap": "cosine_ap", "max_ap": "max_ap", "accuracy": "cosine_accuracy", "f1": "cosine_f1"},
    "bitext": {"f1": "f1", "accuracy": "accuracy"},
    "classification": {"accuracy": "accuracy", "macro_f1": "f1"},
    "clustering": {"v_measure": "v_measure"},
}
"""{family: {our figure: mteb's}}; other figures keep their names."""
MAIN = {"pair-classification": "max_ap"}
"""mteb's main figure, where it isn't our first one."""
TYPES = {
    "retrieval": "Retrieval",
    "reranking": "Reranking",
    "sts": "STS",
    "pair-classification": "PairClassification",
    "bitext": "BitextMining",
    "classification": "Classification",
    "clustering": "Clustering",
}
NAMES: Mapping[tuple[str, str], tuple[str, str]] = {
    ("scifact", "retrieval"): ("SciFact", "mteb/scifact"),
    ("nfcorpus", "retrieval"): ("NFCorpus", "mteb/nfcorpus"),
    ("arguana", "retrieval"): ("ArguAna", "mteb/arguana"),
    ("fiqa", "retrieval"): ("FiQA2018", "mteb/fiqa"),
    ("scidocs", "retrieval"): ("SCIDOCS", "mteb/scidocs"),
    ("xquad", "retrieval"): ("XQuADRetrieval", "google/xquad"),
    ("stsbenchmark", "sts"): ("STSBenchmark", "mteb/stsbenchmark-sts"),
    ("sts17", "sts"): ("STS17", "mteb/sts17-crosslingual-sts"),
    ("tatoeba", "bitext"): ("Tatoeba", "mteb/tatoeba-bitext-mining"),
    ("sib200", "classification"): ("SIB200Classification", "mteb/sib200"),
    ("sib200", "clustering"): ("SIB200ClusteringS2S", "mteb/sib200"),
}
"""{(set, family): (MTEB's task, its data set on the hub)}, the set without its language."""
SCRIPTED = {"SIB200Classification", "SIB200ClusteringS2S"}
"""Tasks whose subsets are named with the script, as in `eng_Latn`."""

UNDETERMINED = "und-Zyyy"
"""Language of a set whose name tells none: mteb passes over a figure without a language."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a set stands in mteb's files."""

    task: str
    subset: str
    languages: tuple[str, ...]
    dataset: str


def task_results(lines: Sequence[Measured]) -> dict[str, dict[str, Any]]:
    """{task: content of its file} of one model, as `mteb.TaskResult.from_disk` reads it.

    An entry of a language has, beside mteb's keys, `intervals` of its figures, `instruction`, and `limit` where a part
    of the set was measured. The revision is a hash of the rows that were measured.
    """
    tasks: dict[str, list[tuple[_Place, Measured]]] = {}
    for line in lines:
        place = _place(line)
        tasks.setdefault(place.task, []).append((place, line))
    return {
        task: {
            "dataset_revision": content_id("revision", sorted(line.content for _, line in found)),
            "task_name": task,
            "mteb_version": None,
            "scores": _by_split(found),
            "evaluation_time": round(sum(line.seconds for _, line in found), 3),
            "kg_co2_emissions": None,
        }
        for task, found in tasks.items()
    }


def model_meta(name: str, fingerprint: str, dimension: int) -> dict[str, Any]:
    """Content of `model_meta.json`, which mteb keeps beside a model's results."""
    return {"name": name, "revision": fingerprint or "none", "embed_dim": dimension or None, "languages": None}


def model_index(name: str, lines: Sequence[Measured]) -> str:
    """The `model-index` of a model card's head, as YAML: the main figure of each set x 100.

    Its interval and a limit stand in the arguments of metric and data set.
    """
    from huggingface_hub import EvalResult, ModelCardData

    results = []
    for line in lines:
        place = _place(line)
        main = _main(line)
        interval = [_percent(main[1]), _percent(main[2])]
        results.append(
            EvalResult(
                task_type=TYPES[line.family],
                dataset_type=place.dataset,
                dataset_name=place.task if place.subset == "default" else f"{place.task} ({place.subset})",
                dataset_config=place.subset,
                dataset_split=line.split,
                dataset_args={"part": line.limit} if line.limit else None,
                metric_type=METRICS[line.family].get(main[3], main[3]),
                metric_value=_percent(main[0]),
                metric_args={"interval": interval} if None not in interval else None,
            )
        )
    return f"---\n{ModelCardData(model_name=name, eval_results=results).to_yaml()}\n---\n"


def file_stem(text: str) -> str:
    """A name as a file or folder may have it."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.") or "model"


def _by_split(found: Sequence[tuple[_Place, Measured]]) -> dict[str, list[dict[str, Any]]]:
    splits: dict[str, list[dict[str, Any]]] = {}
    for place, line in found:
        names = METRICS[line.family]
        figures = {names.get(one.metric, one.metric): one for one in line.figures}
        entry: dict[str, Any] = {name: one.value for name, one in figures.items()}
        entry |= {"main_score": _main(line)[0], "hf_subset": place.subset, "languages": list(place.languages)}
        entry["intervals"] = {name: [one.low, one.high] for name, one in figures.items()}
        entry["instruction"] = line.instruction
        if line.limit:
            entry["limit"] = line.limit
        splits.setdefault(line.split, []).append(entry)
    return splits


def _main(line: Measured) -> tuple[float | None, float | None, float | None, str]:
    wanted = MAIN.get(line.family)
    one = next((figure for figure in line.figures if figure.metric == wanted), line.figures[0])
    return one.value, one.low, one.high, one.metric


def _place(line: Measured) -> _Place:
    language = task_language(line.task)
    group = line.task if language is None else language.group
    known = NAMES.get((group.lower(), line.family))
    if known is None or line.limit:
        spoken = (UNDETERMINED,) if language is None else tuple(_spoken(code) for code in language.label.split("-"))
        return _Place(line.task, "default", spoken, line.task)
    task, dataset = known
    if language is None:
        return _Place(task, "default", ("eng-Latn",), dataset)
    codes = language.label.split("-")
    subset = _spoken(codes[0]).replace("-", "_") if task in SCRIPTED else language.label
    return _Place(task, subset, tuple(dict.fromkeys(_spoken(code) for code in codes)), dataset)


def _spoken(code: str) -> str:
    """A code as mteb writes languages: `deu-Latn`; a script only where the table of languages has one."""
    plain, _, script = code.partition("_")
    found = task_language(f"x-{plain}")
    name = "" if found is None else found.name
    row = next((language for language in languages() if language.name == name), None)
    if not script and row is not None:
        script = row.scripts[0]
    three = plain if len(plain) == 3 else THREE_LETTERS.get(plain, plain)
    return f"{three}-{script}" if script else three


THREE_LETTERS = {
    "ar": "ara", "de": "deu", "el": "ell", "en": "eng", "es": "spa", "fr": "fra", "hi": "hin", "it": "ita", "ja": "jpn",
    "ko": "kor", "nl": "nld", "pl": "pol", "pt": "por", "ro": "ron", "ru": "rus", "sw": "swh", "th": "tha", "tr": "tur",
    "uk": "ukr", "vi": "vie", "zh": "zho",
}  # fmt: skip
"""ISO 639-3 of the two-letter codes in sets' names."""


def _percent(value: float | None) -> float | None:
    return None if value is None else round(100 * value, 4)
