"""The run folder: stage files that survive a kill, a manifest of what each stage read, wrote and cost, and a lock.

Two kinds of files: a *log* (generations) grows by whole lines and is mended on opening, so that a torn last line is
cut off; everything else is written beside its place and renamed into it, so that it is whole or absent.
"""

from __future__ import annotations

import codecs
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from embedloom.errors import DataError, RunError
from embedloom.records import dumps, from_json

R = TypeVar("R")


def read_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of a JSONL file (`.gz` too) with their line numbers, counted from 1; blank lines are skipped.

    Raises:
        DataError: the file is missing, is not UTF-8, or a line is not a JSON object; names file and line.
    """
    number = 0
    try:
        # Bytes, decoded a line at a time: a text file decodes ahead, and its error would name a line too early.
        with _open_bytes(path) as file:
            for number, line in enumerate(file, 1):
                if number == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)  # which some editors put before UTF-8
                if not line.strip():
                    continue
                try:
                    obj = json.loads(line.decode("utf-8"))
                except UnicodeDecodeError as error:
                    raise DataError(f"not UTF-8 text ({error.reason})", path, number) from None
                except (ValueError, RecursionError) as error:  # ValueError alone: a number of thousands of digits
                    fault = f"not valid JSON ({_json_fault(error)}); expected one JSON object a line"
                    raise DataError(fault, path, number) from None
                if not isinstance(obj, dict):
                    raise DataError(f"expected a JSON object, got {type(obj).__name__}", path, number)
                yield number, obj
    except FileNotFoundError:
        raise DataError("no such file", path) from None
    except IsADirectoryError:
        raise DataError("is a folder; expected a JSONL file", path) from None
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"can't be read ({error})", path, number + 1) from None


def read_records(path: Path, kind: type[R]) -> Iterator[R]:
    """The records of a JSONL file. Raises `DataError` with file and line."""
    for number, obj in read_objects(path):
        try:
            yield from_json(kind, obj)
        except DataError as error:
            raise DataError(str(error), path, number) from None


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[str]]:
    """A text file that appears at `path` whole when the block ends, and not at all when it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    temporary = _temporary(path)
    try:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which appears at `path` whole when the block ends, and not at all when it fails.

    What stood at `path` is replaced. A kill leaves the old folder, the new one or, between two renames, none there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    temporary = _temporary(path)
    try:
        temporary.mkdir()
        yield temporary
        old = _temporary(path.with_name(f"{path.name}.old"))
        if path.exists():
            os.rename(path, old)
        os.rename(temporary, path)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_records(path: Path, records: Iterable[Any]) -> int:
    """Writes records to a JSONL file that appears whole; returns how many."""
    count = 0
    with atomic_file(path) as file:
        for record in records:
            file.write(dumps(record) + "\n")
            count += 1
    return count


class RecordLog:
    """A JSONL file that only grows. A group is appended with one write and synced: after a kill, whole lines remain."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 - open for the life of the log
        _cut_torn_line(self._file)

    def append(self, records: Iterable[Any]) -> None:
        """Appends records; when it returns they are on disk."""
        data = "".join(dumps(record) + "\n" for record in records).encode("utf-8", "surrogatepass")
        start = self._file.seek(0, os.SEEK_END)
        try:
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(start)
            raise

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> RecordLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RunFolder:
    """A folder `runs/<name>` with its manifest. Use `locked()` around anything that writes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder for this process; the lock goes with the process, however it ends.

        Raises:
            RunError: another process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / ".lock", "a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                what = f"{self.path} is in use by another process"
                raise RunError(f"{what}; wait for it, or choose another --out") from None
            yield

    def manifest(self) -> dict[str, Any]:
        """What the stages recorded so far: {stage: {key, seconds, wrote: {file: hash}, counts, ...}}."""
        path = self.path / "manifest.json"
        if not path.exists():
            return {}
        try:
            loaded = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            loaded = None
        if not isinstance(loaded, dict) or not all(_is_entry(entry) for entry in loaded.values()):
            raise DataError("not a manifest; delete it to run the stages again", path)
        return loaded

    def done(self, stage: str, key: str) -> bool:
        """Whether `stage` was finished with the same settings and inputs (`key`) and its files are as it left them."""
        entry = self.manifest().get(stage)
        if entry is None or entry["key"] != key:
            return False
        return all(self.content(name) == content for name, content in entry["wrote"].items())

    def stage(self, stage: str, key: str, files: Iterable[str], work: Callable[[], dict[str, Any]]) -> bool:
        """Runs `work` unless it is done, and records it. `work` returns figures for the manifest. True if it ran."""
        if self.done(stage, key):
            return False
        started = time.time()
        figures = work()
        wrote = {name: self.content(name) for name in files}
        entry = {"key": key, "seconds": round(time.time() - started, 2), "wrote": wrote, **figures}
        manifest = {**self.manifest(), stage: entry}
        with atomic_file(self.path / "manifest.json") as file:
            json.dump(manifest, file, indent=1, ensure_ascii=False)
        return True

    def content(self, name: str) -> str:
        """Content hash of a file of the run, or of the names and contents of the files below a folder; "" if absent."""
        path = self.path / name
        if path.is_dir():
            listing = sorted((str(p.relative_to(path)), file_hash(p)) for p in path.rglob("*") if p.is_file())
            return hashlib.blake2b(json.dumps(listing).encode(), digest_size=16).hexdigest()
        return file_hash(path) if path.exists() else ""


def file_hash(path: Path, algorithm: str = "blake2b") -> str:
    """Hash of a file's bytes, read in pieces: blake2b with 16 bytes, or any algorithm of hashlib."""
    digest = hashlib.blake2b(digest_size=16) if algorithm == "blake2b" else hashlib.new(algorithm)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _is_entry(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("key"), str) and isinstance(entry.get("wrote"), dict)


def _json_fault(error: Exception) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


def _temporary(path: Path) -> Path:
    """Where this process makes what will stand at `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def _remove_leftovers(path: Path) -> None:
    """Removes what killed processes left half made for `path`."""
    made = re.compile(rf"\.{re.escape(path.name)}(?:\.old)?\.(\d+)\.partial")
    for left in path.parent.iterdir():
        found = made.fullmatch(left.name)
        if found is None or _alive(int(found[1])):
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _open_bytes(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        import gzip

        return cast("IO[bytes]", gzip.open(path, "rb"))
    return open(path, "rb")


def _cut_torn_line(file: IO[bytes]) -> None:
    """Cuts what stands behind the last line end: the line that a kill left unfinished."""
    end = file.seek(0, os.SEEK_END)
    position = end
    while position > 0:
        step = min(4096, position)
        file.seek(position - step)
        block = file.read(step)
        newline = block.rfind(b"\n")
        if newline >= 0:
            position = position - step + newline + 1
            break
        position -= step
    if position != end:
        file.truncate(position)
