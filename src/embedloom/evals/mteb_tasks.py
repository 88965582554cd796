"""Tasks of the `mteb` library as our evaluation sets: same data, same protocol, and our intervals beside the figures.

A task whose class measures in a way of its own is refused rather than measured in ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from embedloom.data.beir import RetrievalSet
from embedloom.data.candidates import Candidates
from embedloom.data.labels import LabelledText
from embedloom.data.pairs import LabelledPair, ScoredPair, TranslationPair
from embedloom.errors import DataError
from embedloom.evals.mteb_model import FAMILIES, import_mteb
from embedloom.evals.suite import EvalSet
from embedloom.records import Document

SCHEME = "mteb:"
"""What stands before a task's name where a set's path is expected."""


def mteb_sets(name: str, *, split: str = "test") -> list[EvalSet]:
    """The evaluation sets of one of mteb's tasks by its name, one a language subset; from the hub or its cache.

    Args:
        name: such as STSBenchmark.
        split: taken if the task is evaluated on it; a task with one split of another name has that one taken.

    Raises:
        MissingExtraError: mteb is absent.
        DataError: no task of that name, its data can't be had, or it is measured in a way of its own.
    """
    mteb = import_mteb()
    try:
        task = mteb.get_task(name)
    except KeyError as error:
        raise DataError(f"{SCHEME}{name}: {str(error.args[0]).removeprefix('KeyError: ')}") from None
    splits = list(task.eval_splits)
    if split not in splits and len(splits) > 1:
        raise DataError(f"{SCHEME}{name} has no split {split!r}; expected one of {', '.join(splits)}")
    try:
        task.load_data()
    except Exception as error:  # the hub, its cache and the readers of a dozen formats fail in their own ways
        raise DataError(
            f"{SCHEME}{name}: its data {task.metadata.dataset.get('path', '')!r} is not in the hub's cache and can't "
            f"be fetched ({type(error).__name__}); evaluate it once where there is a network, or give a folder"
        ) from None
    return task_sets(task, split if split in splits else splits[0])


def task_sets(task: Any, split: str) -> list[EvalSet]:
    """The evaluation sets of a task object whose data is loaded.

    Raises:
        DataError: it is no text task of a family that we measure, or is measured in a way of its own.
    """
    name, kind = task.metadata.name, task.metadata.type
    family = FAMILIES.get(kind, "")
    read = READERS.get(family)
    if read is None or list(task.metadata.modalities) != ["text"] or kind not in PLAIN:
        raise _not_ours(name, f"is a task of the type {kind}")
    return list(read(task, split))


def _retrieval(task: Any, split: str) -> Iterator[EvalSet]:
    task.convert_v1_dataset_format_to_v2(None)
    _plain(task, skip_first_result=False)
    settings = {"skip_same_id": True} if task.ignore_identical_ids else {}
    _own_methods(task, "AbsTaskRetrieval", "task_specific_scores")
    for task_name, part in _parts(task, split):
        if "instruction" in part["queries"].column_names:
            raise _not_ours(task.metadata.name, "has an instruction in each query")
        texts = dict(zip(part["queries"]["id"], part["queries"]["text"], strict=True))
        if not all(isinstance(text, str) for text in texts.values()):
            raise _not_ours(task.metadata.name, "has conversations as queries")
        judged = {query: dict(of_query) for query, of_query in part["relevant_docs"].items() if of_query}
        corpus = {row["id"]: Document(row["id"], row["text"], row.get("title") or "") for row in part["corpus"]}
        if part["top_ranked"]:
            _plain(task, ignore_identical_ids=False)
            yield _reranking(task, task_name, split, texts, judged, part["top_ranked"], corpus)
            continue
        queries = {query: text for query, text in texts.items() if query in judged}
        rows = RetrievalSet(task_name, split, tuple(corpus.values()), queries, {q: judged[q] for q in queries})
        yield EvalSet(task_name, "retrieval", split, rows, len(corpus) + len(queries), settings)


def _reranking(
    task: Any,
    task_name: str,
    split: str,
    texts: Mapping[str, str],
    judged: Mapping[str, Mapping[str, int]],
    top_ranked: Mapping[str, Sequence[str]],
    corpus: Mapping[str, Document],
) -> EvalSet:
    rows = []
    for query, gains in judged.items():
        candidates = top_ranked.get(query, ())
        relevant = {identity for identity, gain in gains.items() if gain > 0}
        if not relevant <= set(candidates) or any(gain > 1 for gain in gains.values()):
            raise _not_ours(task.metadata.name, "has relevant documents beside the candidates, or grades of relevance")
        first = tuple(corpus[identity].content for identity in candidates if identity in relevant)
        rows.append(Candidates(texts[query], first, tuple(corpus[i].content for i in candidates if i not in relevant)))
    count = sum(1 + len(row.positives) + len(row.negatives) for row in rows)
    return EvalSet(task_name, "reranking", split, tuple(rows), count)


def _sts(task: Any, split: str) -> Iterator[EvalSet]:
    _plain(task, input1_prompt_type=None, input2_prompt_type=None)
    first, second = task.column_names
    for task_name, part in _parts(task, split):
        columns = part[first], part[second], part["score"]
        rows = tuple(ScoredPair(*row[:2], float(row[2])) for row in zip(*columns, strict=True))
        yield EvalSet(task_name, "sts", split, rows, 2 * len(rows))


def _pair_classification(task: Any, split: str) -> Iterator[EvalSet]:
    _plain(task, input1_prompt_type=None, input2_prompt_type=None)
    names = (task.input1_column_name, task.input2_column_name, task.label_column_name)
    for task_name, part in _parts(task, split):
        # Older sets hold all pairs in lists of one row.
        columns = [part[name][0] if len(part) == 1 else part[name] for name in names]
        rows = tuple(LabelledPair(left, right, int(label) == 1) for left, right, label in zip(*columns, strict=True))
        yield EvalSet(task_name, "pair-classification", split, rows, 2 * len(rows))


def _bitext(task: Any, split: str) -> Iterator[EvalSet]:
    for subset in task.hf_subsets:
        if task.parallel_subsets:
            part, (first, second) = task.dataset[split], subset.split("-")
        else:
            part, (first, second) = _part(task, subset, split), ("sentence1", "sentence2")
        if "gold" in part:
            raise _not_ours(task.metadata.name, "says in a column which lines belong together")
        rows = tuple(TranslationPair(*row) for row in zip(part[first], part[second], strict=True))
        yield EvalSet(_named(task, subset), "bitext", split, rows, 2 * len(rows))


def _classification(task: Any, split: str) -> Iterator[EvalSet]:
    _plain(task, is_cross_validation=False)
    classifier = task.evaluator_model
    if type(classifier).__name__ != "LogisticRegression" or classifier.max_iter != 100:
        raise _not_ours(task.metadata.name, "has a classifier of its own")
    settings = {"texts_per_label": task.samples_per_label, "draws": task.n_experiments, "seed": task.seed}
    for subset in task.hf_subsets:
        train, test = (
            tuple(
                LabelledText(text, str(label))
                for text, label in zip(part[task.input_column_name], part[task.label_column_name], strict=True)
            )
            for part in (_part(task, subset, task.train_split), _part(task, subset, split))
        )
        yield EvalSet(_named(task, subset), "classification", split, (train, test), len(train) + len(test), settings)


def _clustering(task: Any, split: str) -> Iterator[EvalSet]:
    if not hasattr(task, "max_document_to_embed"):
        raise _not_ours(task.metadata.name, "has the older protocol of clustering")
    _plain(task, k_mean_batch_size=512)
    share, most = task.max_fraction_of_documents_to_embed, task.max_document_to_embed
    for task_name, part in _parts(task, split):
        labels = [label if isinstance(label, list) else [label] for label in part[task.label_column_name]]
        if any(len(levels) != 1 for levels in labels) or (share is None and most is None):
            raise _not_ours(task.metadata.name, "has several levels of labels, or its own sampling")
        texts = part[task.input_column_name]
        rows = tuple(LabelledText(text, str(level)) for text, (level,) in zip(texts, labels, strict=True))
        settings = {
            "texts": int(share * len(rows)) if share is not None else most,
            "experiments": task.n_clusters,
            "sample": task.max_documents_per_cluster,
            "seed": task.seed,
        }
        yield EvalSet(task_name, "clustering", split, rows, min(len(rows), settings["texts"]), settings)


READERS: Mapping[str, Callable[[Any, str], Iterator[EvalSet]]] = {
    "retrieval": _retrieval,
    "reranking": _retrieval,
    "sts": _sts,
    "pair-classification": _pair_classification,
    "bitext": _bitext,
    "classification": _classification,
    "clustering": _clustering,
}
PLAIN = {"Retrieval", "Reranking", "STS", "PairClassification", "BitextMining", "Classification", "Clustering"}
"""Types that are measured as their family is; the others only get their instruction from it."""


def _parts(task: Any, split: str) -> Iterator[tuple[str, Any]]:
    for subset in task.hf_subsets:
        yield _named(task, subset), _part(task, subset, split)


def _part(task: Any, subset: str, split: str) -> Any:
    """A split of a subset; sets of one language may have no subset around their splits."""
    return task.dataset[split] if subset == "default" and subset not in task.dataset else task.dataset[subset][split]


def _named(task: Any, subset: str) -> str:
    name: str = task.metadata.name
    return name if subset == "default" else f"{name}-{subset}"


def _plain(task: Any, **expected: object) -> None:
    for attribute, value in expected.items():
        if getattr(task, attribute) != value:
            raise _not_ours(task.metadata.name, f"has {attribute} = {getattr(task, attribute)!r}")


def _own_methods(task: Any, parent: str, *methods: str) -> None:
    plain = next(kind for kind in type(task).__mro__ if kind.__name__ == parent)
    for method in methods:
        if getattr(type(task), method) is not getattr(plain, method):
            raise _not_ours(task.metadata.name, "has figures of its own")


def _not_ours(name: str, why: str) -> DataError:
    return DataError(
        f"{SCHEME}{name} {why}, which embedloom doesn't measure itself; run mteb.evaluate(mteb_model(embedder), "
        f"mteb.get_task({name!r})) with mteb_model from embedloom.evals.mteb_model"
    )
