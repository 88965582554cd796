"""Vectors kept on disk: what was encoded once, in evaluation or before a kill, is read back and not encoded again.

The key is a hash of the model's fingerprint, the role, the instruction and the text, so that a changed model, prompt or
text is another entry, and a renamed or copied model is the same. SQLite holds the rows: two processes may share a file,
and what was committed survives a kill.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from embedloom.errors import DataError, ModelError
from embedloom.records import Embedder, Progress

if TYPE_CHECKING:
    from embedloom.records import Vectors

WRITE_EVERY = 256
"""Texts encoded between two commits: what a kill can cost."""
READ_AT_ONCE = 500
FORMAT = 1
WAIT_SECONDS = 60.0
"""How long one process waits for another's commit."""


class CachedEmbedder:
    """An `Embedder` that asks another one only for texts whose vectors are not in the file `path`.

    Args:
        embedder: the model that encodes what is missing.
        path: the SQLite file; made if absent. It may hold vectors of many models. Keep it on a local disk.
        write_every: texts encoded between two commits.

    Raises:
        DataError: the file is no cache of vectors, or its folder can't be written.
    """

    def __init__(self, embedder: Embedder, path: str | os.PathLike[str], *, write_every: int = WRITE_EVERY) -> None:
        self.embedder = embedder
        self.name, self.fingerprint, self.dimension = embedder.name, embedder.fingerprint, embedder.dimension
        self.path = Path(path)
        self.write_every = write_every
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._connection() as connection:
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, FORMAT):
                raise DataError(f"a vector cache of format {found}; this version reads {FORMAT}: delete it", self.path)
            # Readers and one writer at once, and a commit that needs no second file to be synced.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL)")
            connection.execute(f"PRAGMA user_version = {FORMAT:d}")
            connection.commit()

    def encode_queries(self, texts: Sequence[str], instruction: str, *, progress: Progress | None = None) -> Vectors:
        """As the model's: shape (len(texts), dimension). `progress` counts cached texts too."""

        def encode(missing: Sequence[str]) -> Vectors:
            return self.embedder.encode_queries(missing, instruction, progress=progress)

        return self._encode(texts, "query", instruction, encode, progress)

    def encode_documents(self, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
        """As the model's: shape (len(texts), dimension). `progress` counts cached texts too."""

        def encode(missing: Sequence[str]) -> Vectors:
            return self.embedder.encode_documents(missing, progress=progress)

        return self._encode(texts, "document", "", encode, progress)

    def _encode(
        self,
        texts: Sequence[str],
        role: str,
        instruction: str,
        encode: Callable[[Sequence[str]], Vectors],
        progress: Progress | None,
    ) -> Vectors:
        out = np.empty((len(texts), self.dimension), dtype=np.float32)
        rows_of: dict[bytes, list[int]] = {}
        prefix = _key_prefix(self.fingerprint, role, instruction)
        for row, text in enumerate(texts):
            rows_of.setdefault(_key(prefix, text), []).append(row)
        with self._connection() as connection:
            missing = set(rows_of)
            for key, vector in self._read(connection, rows_of):
                out[rows_of[key]] = vector
                missing.discard(key)
            if progress is not None and len(texts) > len(missing):
                progress(len(texts) - len(missing))
            # Like lengths together: the model pads less. Longest first: a text too big for memory shows at once.
            order = sorted(missing, key=lambda key: (-len(texts[rows_of[key][0]]), rows_of[key][0]))
            for keys in _groups(order, self.write_every):
                made = np.asarray(encode([texts[rows_of[key][0]] for key in keys]), dtype=np.float32)
                if made.shape != (len(keys), self.dimension):
                    raise ModelError(f"{self.name} gave shape {made.shape}; expected {(len(keys), self.dimension)}")
                for key, vector in zip(keys, made, strict=True):
                    out[rows_of[key]] = vector
                # Another process may have written the same text meanwhile: the newer one stays, both are right.
                connection.executemany(
                    "INSERT OR REPLACE INTO vectors (key, vector) VALUES (?, ?)",
                    ((key, vector.astype("<f4").tobytes()) for key, vector in zip(keys, made, strict=True)),
                )
                connection.commit()
        return out

    def _read(self, connection: sqlite3.Connection, keys: Iterable[bytes]) -> Iterator[tuple[bytes, Vectors]]:
        """The vectors that the file holds. A row of the wrong length counts as absent, and is written anew."""
        for group in _groups(keys, READ_AT_ONCE):
            marks = ",".join("?" * len(group))
            for key, blob in connection.execute(f"SELECT key, vector FROM vectors WHERE key IN ({marks})", group):
                if len(blob) == 4 * self.dimension:
                    yield key, np.frombuffer(blob, dtype="<f4").astype(np.float32, copy=False)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for one call: threads and forked processes never share one."""
        try:
            with closing(sqlite3.connect(self.path, timeout=WAIT_SECONDS)) as connection:
                # In WAL mode a kill loses nothing that was committed; only a power cut may lose the last commits.
                connection.execute("PRAGMA synchronous = NORMAL")
                yield connection
        except sqlite3.Error as error:
            what = f"can't be used as a vector cache ({error})"
            raise DataError(f"{what}; delete it, or give another file", self.path) from None


def _key_prefix(fingerprint: str, role: str, instruction: str) -> bytes:
    """The parts that many texts share. Each is preceded by its length: no two lists of parts give the same bytes."""
    parts = [part.encode("utf-8", "surrogatepass") for part in (fingerprint, role, instruction)]
    return b"".join(len(part).to_bytes(8, "little") + part for part in parts)


def _key(prefix: bytes, text: str) -> bytes:
    return hashlib.blake2b(prefix + text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _groups(items: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    rest = iter(items)
    while group := list(islice(rest, size)):
        yield group
