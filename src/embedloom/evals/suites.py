"""Suites: all sets below a folder, or a named choice of them with limits on the big ones."""

from __future__ import annotations

import os
import random
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from embedloom.data.beir import RetrievalSet
from embedloom.errors import DataError
from embedloom.evals.mteb_tasks import SCHEME, mteb_sets
from embedloom.evals.suite import EvalSet, discover

SEED = 1
"""Of the rows that are drawn from a set with a limit."""
ENVIRONMENT = "EMBEDLOOM_SHARED"
PLACES = ("../shared/data", "shared/data")
"""Where the data of a named suite is looked for, from the folder in which the command runs."""
KEYS = {"path", "rows", "queries", "documents"}


def open_suite(name: str, *, data: Path | None = None, split: str = "test", limit: int | None = None) -> list[EvalSet]:
    """The sets of a suite.

    Args:
        name: a suite of `suites.toml`, a TOML file with `sets` as there, whose paths may be a folder of sets or a task
            such as `mteb:STSBenchmark`, or a folder: every set below it.
        data: where a named suite's sets lie; by default below EMBEDLOOM_SHARED, or in `../shared/data`.
        split: which part of a set.
        limit: at most so many queries, pairs or texts of each set, and ten times as many documents.

    Raises:
        DataError: there is no such suite, or a set is missing or malformed.
    """
    if name not in suite_names() and Path(name).is_dir():
        return [limited_to(found, limit) for found in discover(Path(name), split=split)]
    entries = _entries(name)
    folder = data
    if folder is None and not all(entry["path"].startswith(SCHEME) for entry in entries):
        folder = _data_folder(name)
    return [
        limited(
            found,
            rows=_least(entry.get("queries", entry.get("rows")), limit),
            documents=_least(entry.get("documents"), _documents(limit)),
        )
        for entry in entries
        for found in _sets_of(entry["path"], folder, split)
    ]


def suite_names() -> tuple[str, ...]:
    """Suites that have a name."""
    return tuple(_named())


def limited_to(found: EvalSet, limit: int | None) -> EvalSet:
    """The part of a set that a limit for all sets leaves: so many queries, pairs or texts, ten times as many documents.

    None leaves all of it.
    """
    return limited(found, rows=limit, documents=_documents(limit))


def limited(found: EvalSet, *, rows: int | None = None, documents: int | None = None) -> EvalSet:
    """A part of a set, drawn by a fixed seed in the set's own order, and named in its `limit`.

    Args:
        found: the set.
        rows: at most so many queries, pairs or test texts; all training texts of a classification set stay.
        documents: at most so many documents of a corpus: those that are judged for a query, and others. Fewer documents
            make a search easier: such figures are compared only with their like.
    """
    if isinstance(found.rows, RetrievalSet):
        return _limited_retrieval(found, found.rows, rows, documents)
    train, test = found.rows if found.family == "classification" else ((), found.rows)
    kept = _drawn(test, rows)
    if len(kept) == len(test):
        return found
    what = {"reranking": "queries", "classification": "test texts", "clustering": "texts"}.get(found.family, "pairs")
    texts = (
        sum(1 + len(row.positives) + len(row.negatives) for row in kept)
        if found.family == "reranking"
        else len(train) + len(kept) * (1 if hasattr(kept[0], "text") else 2)
    )
    part = (train, kept) if found.family == "classification" else kept
    return replace(found, rows=part, text_count=texts, limit=f"{len(kept):,} of {len(test):,} {what}")


def _limited_retrieval(found: EvalSet, whole: RetrievalSet, rows: int | None, documents: int | None) -> EvalSet:
    names = _drawn(list(whole.queries), rows)
    qrels = {name: whole.qrels[name] for name in names}
    judged = {document for of_query in qrels.values() for document in of_query}
    corpus = whole.corpus
    if documents is not None and documents < len(corpus):
        places = [place for place, document in enumerate(corpus) if document.id not in judged]
        others = set(_drawn(places, max(0, documents - (len(corpus) - len(places)))))
        corpus = tuple(one for place, one in enumerate(corpus) if one.id in judged or place in others)
    told = [
        f"{kept:,} of {all_of_it:,} {what}"
        for kept, all_of_it, what in (
            (len(names), len(whole.queries), "queries"),
            (len(corpus), len(whole.corpus), "documents"),
        )
        if kept < all_of_it
    ]
    if not told:
        return found
    queries = {name: whole.queries[name] for name in names}
    part = RetrievalSet(whole.name, whole.split, corpus, queries, qrels)
    return replace(found, rows=part, text_count=len(corpus) + len(queries), limit=", ".join(told))


def _drawn(rows: Sequence[Any], most: int | None) -> tuple[Any, ...]:
    if most is None or most >= len(rows):
        return tuple(rows)
    return tuple(rows[place] for place in sorted(random.Random(SEED).sample(range(len(rows)), most)))


def _documents(limit: int | None) -> int | None:
    return None if limit is None else 10 * limit


def _least(*limits: int | None) -> int | None:
    return min((one for one in limits if one is not None), default=None)


def _sets_of(name: str, folder: Path | None, split: str) -> list[EvalSet]:
    if name.startswith(SCHEME):
        return mteb_sets(name.removeprefix(SCHEME), split=split)
    path = (folder or Path()) / name
    if not path.exists():
        raise DataError(f"not there, though the suite has it; --data names the folder in which {name} lies", path)
    found = discover(path, split=split)
    return found if len(found) > 1 else [replace(one, task=_name(path)) for one in found]


def _name(path: Path) -> str:
    """A set's name: its folder's, and for one file of several its own behind that."""
    if path.is_dir():
        return path.resolve().name
    return f"{path.resolve().parent.name}-{path.name.removesuffix('.gz').removesuffix('.jsonl')}"


def _entries(name: str) -> list[dict[str, Any]]:
    table: Any = _named().get(name)
    source = Path(name)
    if table is None:
        if not source.is_file():
            known = ", ".join(suite_names())
            raise DataError(f"no suite {name!r}; expected {known}, a folder of sets, or a TOML file with `sets`")
        try:
            table = tomllib.loads(source.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise DataError(f"not a TOML file ({error})", source) from None
    entries = table.get("sets")
    if not isinstance(entries, list) or not entries or not all(_is_entry(entry) for entry in entries):
        raise DataError('expected sets = [{ path = "...", rows = 500 }, ...]; also: queries, documents', source)
    return entries


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("path"), str) or not set(entry) <= KEYS:
        return False
    return all(type(value) is int and value > 0 for key, value in entry.items() if key != "path")


def _named() -> dict[str, Any]:
    return tomllib.loads(files("embedloom.evals").joinpath("suites.toml").read_text(encoding="utf-8"))


def _data_folder(name: str) -> Path:
    shared = os.environ.get(ENVIRONMENT)
    places = [Path(shared) / "data", Path(shared)] if shared else [Path(place) for place in PLACES]
    for place in places:
        if place.is_dir():
            return place
    looked = " and ".join(map(str, places))
    raise DataError(f"no folder of data for the suite {name!r} (looked for {looked}); name it with --data")
