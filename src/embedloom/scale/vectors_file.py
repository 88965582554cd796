"""Vectors in a Parquet file: id, vector, the text if asked for, and in the metadata which model made them, and how."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embedloom.errors import DataError
from embedloom.records import from_json

if TYPE_CHECKING:
    from embedloom.records import Vectors
    from embedloom.scale.texts import TextBlock

METADATA_KEY = b"embedloom"
PRECISIONS = ("float32", "float16", "int8")
FORMAT = 1


@dataclass(frozen=True, slots=True)
class VectorsOf:
    """What a file of vectors says about them.

    Attributes:
        model: its name.
        fingerprint: of the model.
        dimension: of the vectors in the file.
        full_dimension: of the model's vectors; larger where they were cut (Matryoshka).
        role: `query` or `document`.
        instruction: of queries.
        precision: `float32`, `float16`, or `int8` with a factor a vector in the column `scale`.
        texts: whether the file holds them.
    """

    model: str
    fingerprint: str
    dimension: int
    full_dimension: int
    role: str = "document"
    instruction: str = ""
    precision: str = "float32"
    texts: bool = False
    format: int = FORMAT


def shortened(vectors_ND: Vectors, dimension: int) -> Vectors:
    """The first `dimension` numbers of unit vectors, as unit vectors (Matryoshka, Kusupati et al. 2022)."""
    if dimension == vectors_ND.shape[1]:
        return vectors_ND
    cut_ND = vectors_ND[:, :dimension]
    lengths = np.linalg.norm(cut_ND, axis=1, keepdims=True)
    short_ND: Vectors = (cut_ND / np.maximum(lengths, 1e-12)).astype(np.float32)
    return short_ND


def block_table(block: TextBlock, vectors_ND: Vectors, told: VectorsOf) -> Any:
    """The Arrow table of a block; `vectors_ND` are the model's whole unit vectors, shape (texts, full dimension)."""
    import pyarrow as pa

    short_ND = np.ascontiguousarray(shortened(vectors_ND, told.dimension))
    columns: list[Any] = [pa.array(block.ids, pa.string())]
    if told.precision == "int8":
        # A factor for each vector, not for each dimension: nothing has to be measured on the corpus first.
        scale_N1 = np.maximum(np.abs(short_ND).max(axis=1, keepdims=True), 1e-12) / 127
        columns += [_lists(np.rint(short_ND / scale_N1).astype(np.int8)), pa.array(scale_N1[:, 0], pa.float32())]
    else:
        columns.append(_lists(short_ND.astype(told.precision)))
    if told.texts:
        columns.append(pa.array(block.texts, pa.large_string()))
    return pa.Table.from_arrays(columns, schema=vectors_schema(told))


def vectors_schema(told: VectorsOf) -> Any:
    """The Arrow schema of a file of vectors."""
    import pyarrow as pa

    kind = {"float32": pa.float32(), "float16": pa.float16(), "int8": pa.int8()}[told.precision]
    fields = [pa.field("id", pa.string()), pa.field("vector", pa.list_(kind, told.dimension))]
    if told.precision == "int8":
        fields.append(pa.field("scale", pa.float32()))
    if told.texts:
        fields.append(pa.field("text", pa.large_string()))
    return pa.schema(fields, metadata={METADATA_KEY: json.dumps(dataclasses.asdict(told))})


def write_table(path: Path, table: Any) -> None:
    """Writes a Parquet file that is whole and on disk when it appears at `path`."""
    import pyarrow.parquet as pq

    temporary = path.with_name(f".{path.name}.partial")
    try:
        # Vectors don't compress, and their dictionary would be tried in vain.
        pq.write_table(table, temporary, compression="zstd", use_dictionary=False)
        _sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def join_tables(path: Path, parts: Iterable[Path], told: VectorsOf) -> int:
    """One file of the rows of many, a row group each; it appears at `path` whole. Returns the rows."""
    import pyarrow.parquet as pq

    temporary = path.with_name(f".{path.name}.partial")
    rows = 0
    try:
        with pq.ParquetWriter(
            temporary, vectors_schema(told), compression="zstd", use_dictionary=False, write_statistics=False
        ) as out:
            for part in parts:
                table = pq.read_table(part)
                out.write_table(table.replace_schema_metadata(vectors_schema(told).metadata))
                rows += table.num_rows
        _sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return rows


def read_told(path: Path) -> VectorsOf:
    """What a file says about its vectors.

    Raises:
        DataError: it is no Parquet file of ours.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(path).metadata or {}
        return from_json(VectorsOf, json.loads(metadata[METADATA_KEY]))
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else "no file that embedloom encode wrote"
        raise DataError(what, path) from None


def read_vectors(path: Path, *, rows: int = 4096) -> Iterator[tuple[list[str], Vectors]]:
    """Ids and vectors as float32, shape (rows, dimension), `rows` at a time; int8 is multiplied out.

    Raises:
        DataError: as `read_told`.
    """
    import pyarrow.parquet as pq

    told = read_told(path)
    for batch in pq.ParquetFile(path).iter_batches(batch_size=rows):
        flat = batch.column("vector").flatten().to_numpy(zero_copy_only=False)
        vectors_ND = flat.reshape(-1, told.dimension).astype(np.float32)
        if told.precision == "int8":
            vectors_ND *= batch.column("scale").to_numpy()[:, None]
        yield batch.column("id").to_pylist(), vectors_ND


def _lists(vectors_ND: Any) -> Any:
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(vectors_ND.reshape(-1)), vectors_ND.shape[1])


def _sync(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
