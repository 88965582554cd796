"""all-MiniLM-L6-v2 in our evaluation, in mteb on the same files, and as published.

mteb gets the model as sentence-transformers opens it, and nothing of ours: where we and a published figure part, it
says whether the files or our measuring are why. SciFact, whose documents take minutes, is measured by us alone.

Scores stay below runs/, so that a benchmark which was cut off goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from recipe_run import DATA, ROOT, embedloom

if TYPE_CHECKING:
    from embedloom.evals.suite import EvalSet

MODEL = "registry:minilm"
FOLDER = ROOT / "runs" / "minilm"
SUITE = str(ROOT / "benchmarks" / "minilm.toml")
PUBLISHED = {"scifact": 0.645, "stsbenchmark": 0.820, "sts17-en-en": 0.876, "tatoeba": 0.039}
"""Main scores in MTEB's repository of results; that of Tatoeba is the mean of its 112 languages."""
IN_MTEB = {"stsbenchmark": ("STSBenchmark", "default"), "sts17-en-en": ("STS17", "en-en")}
"""Task and subset of the sets that aren't Tatoeba's."""


@dataclass(frozen=True, slots=True)
class ByMteb:
    """The main score of a set by a version of mteb; `content` is the hash of its rows."""

    task: str
    content: str
    mteb: str
    value: float


def measure() -> dict[str, Any]:
    """Ours, mteb's and the published figures, and the differences; Tatoeba by language too."""
    from embedloom.evals.comparison import compare
    from embedloom.evals.measured import read_measured, results_by_model, set_content
    from embedloom.evals.suites import open_suite

    embedloom("eval", f"minilm={MODEL}", "--suite", SUITE, "--data", str(DATA), "--results", str(FOLDER))
    sets = {found.task: found for found in open_suite(SUITE, data=DATA)}
    by_mteb = _measured_by_mteb([found for found in sets.values() if found.family != "retrieval"])

    contents = {set_content(found) for found in sets.values()}
    results = results_by_model(line for line in read_measured([FOLDER]) if line.content in contents)
    ours = {result.task: result.main.estimate.value for result in results["minilm"]}
    theirs = {task: value for task, value in by_mteb.items() if task not in IN_MTEB}
    by_mteb["tatoeba"] = sum(theirs.values()) / len(theirs)
    rows = []
    for row in compare(results).rows:
        figure = row.cells["minilm"].figure
        others = {"mteb": by_mteb.get(row.name), "published": PUBLISHED[row.name]}
        apart = {f"ours - {name}": figure.value - value for name, value in others.items() if value is not None}
        told = {"set": row.name, "metric": row.metric, "count": row.count, "languages": row.languages}
        rows.append({**told, "ours": figure.value, "interval": figure.interval, **others, **apart})
    return {
        "mteb": version("mteb"),
        "sets": rows,
        "largest_difference_of_a_language": max(abs(ours[task] - value) for task, value in theirs.items()),
        "tatoeba": {task.removeprefix("tatoeba-"): ours[task] for task in theirs},
    }


def _measured_by_mteb(sets: Sequence[EvalSet]) -> dict[str, float]:
    """{set: main score by mteb}; what was measured before is read."""
    from embedloom.evals.measured import set_content
    from embedloom.run import RecordLog, read_records

    path = FOLDER / "mteb.jsonl"
    with RecordLog(path) as log:
        release = version("mteb")
        known = {(one.task, one.content): one.value for one in read_records(path, ByMteb) if one.mteb == release}
        missing = [found for found in sets if (found.task, set_content(found)) not in known]
        for found, value in _run_mteb(missing) if missing else ():
            known[found.task, set_content(found)] = value
            log.append([ByMteb(found.task, set_content(found), release, value)])
    return {found.task: known[found.task, set_content(found)] for found in sets}


def _run_mteb(sets: Sequence[EvalSet]) -> Iterator[tuple[EvalSet, float]]:
    """mteb's own tasks on our rows."""
    import mteb
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer

    from embedloom.model.names import model_folder

    model = SentenceTransformer(str(model_folder(MODEL)), device="cpu", local_files_only=True)
    for found in sets:
        name, subset = IN_MTEB.get(found.task) or ("Tatoeba", found.task.removeprefix("tatoeba-"))
        columns = ("sentence1", "sentence2", "score") if found.family == "sts" else ("sentence1", "sentence2")
        rows = Dataset.from_dict({column: [getattr(row, column) for row in found.rows] for column in columns})
        task = mteb.get_task(name, hf_subsets=[subset])
        task.dataset, task.data_loaded = {subset: {found.split: rows}}, True
        result = mteb.evaluate(model, task, cache=None, co2_tracker=False, show_progress_bar=False)
        yield found, result.task_results[0].scores[found.split][0]["main_score"]
