"""Every text that evaluation sets are made of, whatever their layout: what training rows must not repeat."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedloom.data.beir import is_beir
from embedloom.errors import DataError
from embedloom.run import read_objects

TRAINING_SPLIT = "train"
"""Files and qrels of this name are for training, and are left out."""

_TEXT_KEYS = {
    "query": "query",
    "positives": "document",
    "negatives": "document",
    "sentence1": "sentence",
    "sentence2": "sentence",
    "text": "sentence",
}


@dataclass(frozen=True, slots=True)
class EvaluationText:
    """A text of an evaluation set; `side` is `query`, `document` (of a corpus or candidates) or `sentence`."""

    set: str
    side: str
    text: str


def evaluation_texts(path: Path) -> Iterator[EvaluationText]:
    """The texts of all sets below a folder, or of one file: BEIR folders, sentence pairs, candidates, labelled texts.

    Of a retrieval set the queries of every split but `train`, and the whole corpus.

    Raises:
        DataError: no such path, no set in it, or a malformed line; names file and line.
    """
    if not path.exists():
        raise DataError("no such file or folder to decontaminate against", path)
    found = False
    for text in _file(path, path.parent) if path.is_file() else _folder(path):
        found = True
        yield text
    if not found:
        raise DataError("no evaluation set here to decontaminate against; expected BEIR folders or JSONL files", path)


def _folder(folder: Path) -> Iterator[EvaluationText]:
    if is_beir(folder):
        yield from _retrieval(folder)
        return
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from _folder(path)
        elif path.is_file() and path.name.endswith((".jsonl", ".jsonl.gz")) and _stem(path) != TRAINING_SPLIT:
            yield from _file(path, folder)


def _retrieval(folder: Path) -> Iterator[EvaluationText]:
    judged = _judged_queries(folder / "qrels")
    for name, side in (("queries.jsonl", "query"), ("corpus.jsonl", "document")):
        for path in (folder / name, folder / f"{name}.gz"):
            if not path.is_file():
                continue
            for _, obj in read_objects(path):
                if side == "query" and judged is not None and str(obj.get("_id")) not in judged:
                    continue
                title, text = obj.get("title"), obj.get("text")
                if isinstance(text, str) and text.strip():
                    whole = f"{title} {text}" if isinstance(title, str) and title.strip() else text
                    yield EvaluationText(folder.name, side, whole)


def _judged_queries(folder: Path) -> set[str] | None:
    """Ids of the queries of the splits that aren't for training; None where no qrels say."""
    files = [path for path in sorted(folder.glob("*.tsv")) if path.stem != TRAINING_SPLIT]
    if not files:
        return None
    judged: set[str] = set()
    for path in files:
        # What is not UTF-8 is no id of a query, and is told by whoever measures on the set.
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            judged.update(line.split("\t", 1)[0] for line in file)
    return judged


def _file(path: Path, folder: Path) -> Iterator[EvaluationText]:
    name = folder.name if _stem(path) in ("test", "dev", "validation") else f"{folder.name}/{_stem(path)}"
    for _, obj in read_objects(path):
        for key, side in _TEXT_KEYS.items():
            yield from (EvaluationText(name, side, text) for text in _texts(obj.get(key)))


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str) and text.strip()]


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".jsonl")
