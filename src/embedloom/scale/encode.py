"""Texts of a file to a file of vectors, block by block: bounded memory, and after a kill only what was in flight is
encoded again.

Each block is a Parquet file of its own in a folder beside the output until all are there and are joined. The folder
says what its blocks were made from and how; blocks of anything else are refused.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embedloom.data import dense
from embedloom.errors import DataError, FingerprintError
from embedloom.records import Embedder, Progress, content_id
from embedloom.run import RunFolder, atomic_file
from embedloom.scale.texts import Place, TextBlock, read_block, text_places
from embedloom.scale.vectors_file import VectorsOf, block_table, join_tables, write_table

if TYPE_CHECKING:
    from embedloom.records import Vectors

BLOCK = 1024
"""Texts that are encoded and written together."""

Engine = Callable[["Work", list[Place]], Iterable[tuple[TextBlock, "Vectors"]]]
"""Encodes the blocks at places, in any order: each block with its unit vectors, shape (texts, full dimension)."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is encoded and how: the file, the key or column of its texts, and what the vectors will be."""

    source: Path
    field: str
    told: VectorsOf


@dataclass(frozen=True, slots=True)
class Encoded:
    """What `encode_file` did: rows of the file, and how many of them were encoded by this call."""

    rows: int
    encoded: int


def vectors_of(
    embedder: Embedder,
    *,
    role: str = "document",
    instruction: str = "",
    dimension: int | None = None,
    precision: str = "float32",
    texts: bool = False,
) -> VectorsOf:
    """What a file of this embedder's vectors will say.

    Raises:
        DataError: more dimensions than the model has, or an instruction for documents.
    """
    full = embedder.dimension
    if dimension is not None and not 1 <= dimension <= full:
        raise DataError(f"{dimension} dimensions of a model that has {full}; expected 1 to {full}")
    if instruction and role != "query":
        raise DataError("documents carry no instruction; leave it out, or encode queries: --role query")
    short = full if dimension is None else dimension
    return VectorsOf(embedder.name, embedder.fingerprint, short, full, role, instruction, precision, texts)


def encode_file(
    source: Path,
    out: Path,
    told: VectorsOf,
    engine: Engine,
    *,
    field: str = "text",
    block_size: int = BLOCK,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Encoded:
    """Encodes every text of a file; a call that was cut off goes on where it stopped.

    Args:
        source: JSON lines, Parquet or one text a line; see `texts.read_block`.
        out: the Parquet file.
        told: what the vectors are; see `vectors_of`.
        engine: who encodes.
        field: key or column of the text.
        block_size: texts encoded and written together.
        overwrite: replace `out`, and blocks that a call with other settings left.
        progress: told of texts, those of earlier calls among them.

    Raises:
        DataError: a malformed row; `out` is there; blocks of other settings or another source wait for it.
        RunError: another process works on `out`.
    """
    if out.exists() and not overwrite:
        raise DataError("is there already; give another file, or --overwrite", out)
    places = list(text_places(source, block_size))
    if not places:
        raise DataError("there is no text in this file; expected at least one", source)
    # The model's name says nothing about its vectors: a renamed or moved model goes on.
    settings = dataclasses.asdict(dataclasses.replace(told, model=""))
    stat = source.stat()
    key = content_id("encode", settings, field, block_size, stat.st_size, stat.st_mtime_ns, len(places))
    folder = out.with_name(f"{out.name}.blocks")
    work = Work(source, field, told)
    with RunFolder(folder).locked():
        _claim(folder, key, overwrite)
        missing = [place for place in places if not _part(folder, place.number).exists()]
        left = sum(place.rows for place in missing)
        if progress is not None:
            progress(sum(place.rows for place in places) - left)
        for block, vectors_ND in engine(work, missing) if missing else ():
            write_table(_part(folder, block.number), block_table(block, vectors_ND, told))
            if progress is not None:
                progress(len(block.ids))
        absent = [place.number for place in missing if not _part(folder, place.number).exists()]
        assert not absent, f"the engine left out block {absent[0]}"
        rows = join_tables(out, (_part(folder, place.number) for place in places), told)
        shutil.rmtree(folder)
    return Encoded(rows, left)


def encode_here(embedder: Embedder) -> Engine:
    """The engine of this process: block after block in the file's order."""

    def engine(work: Work, places: list[Place]) -> Iterator[tuple[TextBlock, Vectors]]:
        for place in places:
            block = read_block(work.source, place, field=work.field)
            yield block, block_vectors(embedder, block, work.told)

    return engine


def block_vectors(embedder: Embedder, block: TextBlock, told: VectorsOf) -> Vectors:
    """Unit vectors of a block's texts, shape (texts, dimension); the same from every engine.

    Raises:
        FingerprintError: not the model that the file is for.
        ModelError: not one unit vector for each text.
    """
    if embedder.fingerprint != told.fingerprint:
        raise FingerprintError(
            f"this process opened a model with fingerprint {embedder.fingerprint}, but the vectors are to be of "
            f"{told.model} (fingerprint {told.fingerprint}); give every machine the same model folder"
        )
    if told.role == "query":
        return dense.encode_queries(embedder, block.texts, told.instruction)
    return dense.encode_documents(embedder, block.texts)


def _part(folder: Path, number: int) -> Path:
    return folder / f"{number:08}.parquet"


def _claim(folder: Path, key: str, overwrite: bool) -> None:
    """Makes the folder this work's own; blocks of other work stay unless they are to be replaced."""
    mark = folder / "key.json"
    found = json.loads(mark.read_text(encoding="utf-8")).get("key") if mark.exists() else None
    if found == key:
        return
    parts = list(folder.glob("*.parquet"))
    if parts and not overwrite:
        what = f"holds {len(parts)} blocks that were encoded with other settings, from another file or by another model"
        raise DataError(f"{what}; give those, or --overwrite", folder)
    for part in parts:
        part.unlink()
    with atomic_file(mark) as file:
        json.dump({"key": key}, file)
