"""Training rows from files: JSONL `instruction, query, positives, negatives`, with their provenance or without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from embedloom.data.lines import check_unicode
from embedloom.data.paper_mix import paper_set, read_paper_set
from embedloom.errors import DataError
from embedloom.records import Example
from embedloom.run import read_objects

SAMPLES = ("llm-written",)
"""Sets that are part of the package, by the source name `sample:NAME`."""

_TEXTS = ("family", "language", "target_language", "source", "prompt_id", "passage_id")
_SCORES = ("high_score", "low_score")
_KEYS = frozenset({"id", "instruction", "query", "positives", "negatives", *_TEXTS, *_SCORES})


def read_training_rows(path: Path, *, instruction: str = "", source: str = "") -> Iterator[Example]:
    """The rows of a training file, `.gz` too. White space inside texts stays as it is.

    Args:
        path: JSONL with `query`, `positives` (a list with at least one text) and, if it likes, `negatives`,
        `instruction`
            and the fields of an `Example`.
        instruction: for rows that bring none.
        source: recorded with rows that name no source; the file's name by default.

    Raises:
        DataError: no such file, a malformed line, a key missing, unknown or of the wrong type, an empty text, a row
            without an instruction where none is given. Names file and line.
    """
    for line, row in read_objects(path):
        unknown = sorted(set(row) - _KEYS)
        if unknown:
            raise DataError(f"unknown key {unknown[0]!r}; a training row has {', '.join(sorted(_KEYS))}", path, line)
        own = _text(row, "instruction", path, line, default=instruction)
        if not own:
            raise DataError("the row has no instruction; add the key, or give one for the whole file", path, line)
        scores: dict[str, Any] = {key: _score(row, key, path, line) for key in _SCORES if key in row}
        named: dict[str, Any] = {key: _text(row, key, path, line) for key in _TEXTS if key in row}
        named.setdefault("source", source or path.name.removesuffix(".gz").removesuffix(".jsonl"))
        yield Example(
            instruction=own,
            query=_filled(_text(row, "query", path, line), "query", path, line),
            positives=_list(row, "positives", path, line, least=1),
            negatives=_list(row, "negatives", path, line, least=0),
            id=_text(row, "id", path, line, default=""),
            **named,
            **scores,
        )


def read_source(name: str, *, instruction: str = "") -> Iterator[Example]:
    """Training rows by source name: `sample:llm-written`, which is in the package, `paper:SET`, or the path of a file.

    Raises:
        DataError: an unknown sample, or a file that can't be read.
    """
    if paper_set(name) is not None:
        yield from read_paper_set(name, instruction=instruction)
        return
    scheme, _, sample = name.partition(":")
    if scheme != "sample":
        yield from read_training_rows(Path(name.removeprefix("path:")), instruction=instruction)
        return
    if sample not in SAMPLES:
        raise DataError(f"unknown sample data {sample!r}; there is {', '.join(f'sample:{known}' for known in SAMPLES)}")
    with as_file(files("embedloom.data").joinpath("sample", sample, "train.jsonl")) as path:
        yield from read_training_rows(path, source=name)


def _text(row: Mapping[str, Any], key: str, path: Path, line: int, *, default: str | None = None) -> str:
    value = row.get(key, default)
    if value is None:
        raise DataError(f"key {key!r} is missing", path, line)
    if not isinstance(value, str):
        raise DataError(f"key {key!r}: expected text, got {type(value).__name__}", path, line)
    check_unicode(value, key, path, line)
    return value


def _filled(value: str, key: str, path: Path, line: int) -> str:
    if not value.strip():
        raise DataError(f"key {key!r} is empty", path, line)
    return value


def _list(row: Mapping[str, Any], key: str, path: Path, line: int, *, least: int) -> tuple[str, ...]:
    values = row.get(key, [] if least == 0 else None)
    if not isinstance(values, list) or len(values) < least:
        got = "nothing" if key not in row else "an empty list" if values == [] else type(values).__name__
        raise DataError(f"key {key!r}: expected a list of texts, got {got}", path, line)
    return tuple(_filled(_text({key: value}, key, path, line), key, path, line) for value in values)


def _score(row: Mapping[str, Any], key: str, path: Path, line: int) -> float:
    value = row[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"key {key!r}: expected a number, got {type(value).__name__}", path, line)
    return float(value)
