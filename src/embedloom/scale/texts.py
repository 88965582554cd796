"""Texts of a file in blocks: JSON lines, Parquet or plain lines, each block readable alone by its place in the file.

Blocks are the unit of work: what is encoded together, written together and lost by a kill. They depend on the file and
the block size alone, so that one process and a cluster make the same ones.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

from embedloom.errors import DataError

ID_KEYS = ("_id", "id")
"""Keys of a row's id, the first that is there; without, its number in the file, counted from 1."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a block begins: `start` in bytes (of JSON lines and plain lines) or rows (of Parquet)."""

    number: int
    start: int
    first_row: int
    rows: int


@dataclass(frozen=True, slots=True)
class TextBlock:
    """Texts that are encoded together, with their ids."""

    number: int
    ids: tuple[str, ...]
    texts: tuple[str, ...]


def text_places(path: Path, size: int) -> Iterator[Place]:
    """The places of a file's blocks, `size` texts each but the last; nothing of the texts is kept.

    Raises:
        DataError: there is no such file.
    """
    _check(path)
    if path.suffix == ".parquet":
        total = _parquet(path).metadata.num_rows
        for number, start in enumerate(range(0, total, size)):
            yield Place(number, start, start, min(size, total - start))
        return
    number = count = row = start = position = 0
    with _open(path) as file:
        for line in file:
            position += len(line)
            if not line.strip():
                continue
            count += 1
            if count == size:
                yield Place(number, start, row, count)
                number, row, count, start = number + 1, row + count, 0, position
    if count:
        yield Place(number, start, row, count)


def read_block(path: Path, place: Place, *, field: str = "text") -> TextBlock:
    """The texts at a place.

    Args:
        path: ends in `.jsonl` or `.parquet` (`.jsonl.gz` and `.txt.gz` too); any other file is one text a line.
        place: as `text_places` gave it.
        field: key or column of the text. A `title` is put before a `text`, as in a corpus.

    Raises:
        DataError: a malformed line, a missing key or a value that is no text; names file and line.
    """
    if path.suffix == ".parquet":
        rows = _parquet_rows(path, place, field)
    elif _is_json(path):
        rows = _json_rows(path, place, field)
    else:
        rows = ((str(number), _text(line, path, number)) for number, line in _lines(path, place))
    found = list(islice(rows, place.rows))
    if len(found) != place.rows:
        raise DataError(f"holds fewer rows than it did (block {place.number}); start again", path)
    return TextBlock(place.number, tuple(identity for identity, _ in found), tuple(text for _, text in found))


def _lines(path: Path, place: Place) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank from a place on, with the number of the text, counted from 1."""
    number = place.first_row
    with _open(path) as file:
        file.seek(place.start)
        for line in file:
            if line.strip():
                number += 1
                yield number, line


def _json_rows(path: Path, place: Place, field: str) -> Iterator[tuple[str, str]]:
    for number, line in _lines(path, place):
        try:
            obj = json.loads(line)
        except (ValueError, RecursionError):
            raise DataError(f"text {number} is not valid JSON", path) from None
        if not isinstance(obj, dict):
            raise DataError(f"text {number}: expected a JSON object, got {type(obj).__name__}", path)
        yield _row(obj, number, path, field)


def _parquet_rows(path: Path, place: Place, field: str) -> Iterator[tuple[str, str]]:
    file = _parquet(path)
    names = set(file.schema_arrow.names)
    if field not in names:
        raise DataError(f"no column {field!r}; the file has {', '.join(sorted(names))}", path)
    columns = [name for name in (field, "title", *ID_KEYS) if name in names]
    skip = place.start
    groups: list[int] = []
    for group in range(file.metadata.num_row_groups):
        held = file.metadata.row_group(group).num_rows
        if not groups and skip >= held:
            skip -= held
        else:
            groups.append(group)
    number = place.start
    for batch in file.iter_batches(batch_size=place.rows, row_groups=groups, columns=columns):
        held = batch.num_rows
        for obj in batch.slice(min(skip, held)).to_pylist():
            number += 1
            yield _row(obj, number, path, field)
        skip = max(0, skip - held)


def _row(obj: dict[str, Any], number: int, path: Path, field: str) -> tuple[str, str]:
    text = obj.get(field)
    if not isinstance(text, str):
        what = "is missing" if field not in obj else f"holds {type(text).__name__}"
        raise DataError(f"text {number}: key {field!r} {what}; expected text (--field names another key)", path)
    identity = next((obj[key] for key in ID_KEYS if obj.get(key) is not None), number)
    try:
        f"{identity}{text}".encode()
    except UnicodeEncodeError as error:
        raise DataError(f"text {number} is not Unicode ({error.reason})", path) from None
    if field == "text":
        # As a corpus' documents are embedded.
        text = f"{obj.get('title') or ''} {text}".strip()
    return str(identity), text


def _text(line: bytes, path: Path, number: int) -> str:
    try:
        return line.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise DataError(f"text {number} is not UTF-8 ({error.reason})", path) from None


def _check(path: Path) -> None:
    if not path.is_file():
        what = "is a folder; expected a file" if path.is_dir() else "no such file"
        raise DataError(f"{what} of texts: .jsonl, .parquet, or one text a line", path)


def _is_json(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith((".jsonl", ".ndjson"))


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    return open(path, "rb")


def _parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"can't be read as Parquet ({error})", path) from None
