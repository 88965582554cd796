"""Large JSONL files by their lines: in portions that several processes share, and records looked up by a key."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from embedloom.errors import DataError
from embedloom.records import from_json
from embedloom.run import read_objects

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Portion:
    """Whole lines of a file: `length` bytes from `start`, the first of them line `line`, counted from 1."""

    start: int
    length: int
    line: int


def portions(path: Path, size: int) -> Iterator[Portion]:
    """Cuts a file at line ends into portions of about `size` bytes.

    Raises:
        DataError: no such file.
    """
    start, line = 0, 1
    with _opened(path) as file:
        while block := file.read(size):
            block += file.readline()
            yield Portion(start, len(block), line)
            start += len(block)
            line += block.count(b"\n")


def read_portion(path: Path, portion: Portion) -> Iterator[tuple[int, str]]:
    """The lines of a portion that aren't blank, with their numbers, without line ends.

    Raises:
        DataError: a line is not UTF-8; names file and line.
    """
    with _opened(path) as file:
        file.seek(portion.start)
        block = file.read(portion.length)
    for number, line in enumerate(block.split(b"\n"), portion.line):
        if line.strip():
            try:
                yield number, line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise DataError(f"not UTF-8 text ({error.reason})", path, number) from None


def check_unicode(value: str, key: str, path: Path, line: int) -> None:
    """Refuses what JSON can say and UTF-8 can't.

    Raises:
        DataError: the value at a key holds half of a surrogate pair; names file and line.
    """
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(f"key {key!r} holds half of a surrogate pair, which is no text", path, line) from None


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file that aren't blank, with their numbers, without line ends.

    Raises:
        DataError: no such file, or a line is not UTF-8; names file and line.
    """
    for portion in portions(path, 1 << 20):
        yield from read_portion(path, portion)


class RecordIndex(Mapping[str, R], Generic[R]):
    """The records of a JSONL file by the text at one key; of several with the same key the first counts.

    A record is read from the file when it is asked for. Memory is 24 bytes a record, and twice that while it is built.
    `lines` counts the records of the file, those with a key that came before among them.

    Args:
        path: a JSONL file, not compressed, that doesn't change meanwhile.
        kind: what its lines hold.
        key: the field whose value is looked up.

    Raises:
        DataError: a malformed line, or one without a text at the key; names file and line.
    """

    def __init__(self, path: Path, kind: type[R], key: str) -> None:
        import numpy as np

        self._path, self._kind, self._key = path, kind, key
        hashes, starts = array("Q"), array("q")
        start = 0
        with _opened(path) as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    hashes.append(_hash(self._text(line, number)))
                    starts.append(start)
                start += len(line)
        found = np.frombuffer(hashes, dtype=np.uint64) if hashes else np.empty(0, dtype=np.uint64)
        self._hashes, first = np.unique(found, return_index=True)
        self._starts = np.array(starts, dtype=np.int64)[first]
        self._rows = np.sort(self._starts)
        self._file = _opened(path)
        self.lines = len(starts)

    def __enter__(self) -> RecordIndex[R]:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getitem__(self, key: str) -> R:
        own = _hash(key)
        place = int(self._hashes.searchsorted(own))
        if place == len(self._hashes) or int(self._hashes[place]) != own:
            raise KeyError(key)
        return self._read(int(self._starts[place]))

    def at(self, row: int) -> R:
        """The record in a row of the file, counted from 0; rows whose key came before don't count."""
        return self._read(int(self._rows[row]))

    def __iter__(self) -> Iterator[str]:
        for number, obj in read_objects(self._path):
            yield self._text(json.dumps(obj).encode(), number)

    def __len__(self) -> int:
        return len(self._hashes)

    def _read(self, start: int) -> R:
        self._file.seek(start)
        return from_json(self._kind, json.loads(self._file.readline()))

    def _text(self, line: bytes, number: int) -> str:
        try:
            obj: Any = json.loads(line)
            value = obj[self._key]
        except (ValueError, RecursionError):
            raise DataError("not valid JSON", self._path, number) from None
        except (KeyError, TypeError, IndexError):
            raise DataError(f"key {self._key!r} is missing", self._path, number) from None
        if not isinstance(value, str):
            raise DataError(f"key {self._key!r}: expected text, got {type(value).__name__}", self._path, number)
        return value


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _opened(path: Path) -> Any:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise DataError("no such file", path) from None
    except IsADirectoryError:
        raise DataError("is a folder; expected a JSONL file", path) from None
