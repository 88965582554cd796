"""The LanceDB table of an index: its schema, with model and kind in the metadata, and the rows that go in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from embedloom.errors import DataError, ModelError
from embedloom.records import Document, from_json
from embedloom.search.kinds import IndexKind
from embedloom.search.tags import tag_values

if TYPE_CHECKING:
    from embedloom.records import Vectors

TABLE = "documents"
METADATA_KEY = b"embedloom"
KIND_KEY = b"embedloom.kind"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class IndexedModel:
    """What the index knows about the model of its vectors."""

    name: str
    fingerprint: str
    dimension: int
    instruction: str = ""
    format: int = FORMAT


def searched_column(kind: IndexKind) -> str:
    """The column that a search of this kind reads: the full vectors, their beginnings, or their signs."""
    if kind.precision == "binary":
        return "bits"
    return "short" if kind.dimensions else "vector"


def table_schema(model: IndexedModel, kind: IndexKind) -> Any:
    """The Arrow schema of a table that holds vectors of `model`."""
    import pyarrow as pa

    fields = [
        pa.field("id", pa.string(), nullable=False),
        pa.field("title", pa.large_string(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("vector", pa.list_(pa.float32(), model.dimension), nullable=False),
    ]
    short = kind.dimensions or model.dimension
    column = searched_column(kind)
    if column == "bits":
        fields.append(pa.field("bits", pa.list_(pa.uint8(), -(-short // 8)), nullable=False))
    elif column == "short":
        fields.append(pa.field("short", pa.list_(pa.float32(), short), nullable=False))
    metadata = {METADATA_KEY: json.dumps(asdict(model))}
    # An index that needs no words for how it is searched stays as other versions of this format read it.
    if kind != IndexKind():
        metadata[KIND_KEY] = json.dumps(asdict(kind))
    return pa.schema([*fields, *_tag_fields(kind)], metadata=metadata)


def _tag_fields(kind: IndexKind) -> list[Any]:
    import pyarrow as pa

    types = {"text": pa.string(), "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}
    return [pa.field(name, types[told]) for name, told in kind.columns.items()]


def stored_model(schema: Any) -> IndexedModel:
    """The model that a table's schema names.

    Raises:
        DataError: the schema has no such metadata, or that of another version.
    """
    try:
        told = json.loads((schema.metadata or {})[METADATA_KEY])
    except (KeyError, ValueError):
        raise DataError("not a table that embedloom made") from None
    return model_from(told)


def model_from(told: object) -> IndexedModel:
    """The model that a table's metadata describes. Raises `DataError` as `stored_model`."""
    try:
        model = IndexedModel(**told)  # type: ignore[arg-type]
    except TypeError:
        raise DataError("not a table that embedloom made") from None
    if model.format != FORMAT:
        raise DataError(f"the index has format {model.format}; this version reads format {FORMAT}")
    return model


def stored_kind(schema: Any) -> IndexKind:
    """How the index is searched, as its table's schema says.

    Raises:
        DataError: the schema says what this version can't read.
    """
    found = (schema.metadata or {}).get(KIND_KEY)
    return IndexKind() if found is None else kind_from(json.loads(found))


def kind_from(told: object) -> IndexKind:
    """How the index is searched, as a table's metadata describes it. Raises `DataError` if it can't be read."""
    return from_json(IndexKind, told)


def table_rows(documents: Sequence[Document], d_ND: Vectors, model: IndexedModel, kind: IndexKind) -> Any:
    """An Arrow table of documents and their vectors, shape (documents, dimension).

    Raises:
        DataError: text that is not Unicode (half a surrogate pair), or a tag of another type than its column.
    """
    import pyarrow as pa

    schema = table_schema(model, kind)
    columns: list[Any] = []
    try:
        columns.append(pa.array([d.id for d in documents], pa.string()))
        columns.append(pa.array([d.title for d in documents], pa.large_string()))
        columns.append(pa.array([d.text for d in documents], pa.large_string()))
        columns.append(_lists(d_ND))
        column = searched_column(kind)
        if column != "vector":
            columns.append(_lists(searched_vectors(d_ND, kind)))
        for name, values in tag_values(documents, kind.columns):
            columns.append(pa.array(values, schema.field(name).type))
    except UnicodeEncodeError as error:
        raise DataError(f"a document holds text that is not Unicode ({error.reason})") from None
    return pa.Table.from_arrays(columns, schema=schema)


def tag_rows(documents: Sequence[Document], kind: IndexKind) -> Any:
    """An Arrow table of ids and tags alone."""
    import pyarrow as pa

    schema = pa.schema([pa.field("id", pa.string(), nullable=False), *_tag_fields(kind)])
    columns = [pa.array([d.id for d in documents], pa.string())]
    columns += [pa.array(values, schema.field(name).type) for name, values in tag_values(documents, kind.columns)]
    return pa.Table.from_arrays(columns, schema=schema)


def searched_vectors(vectors_ND: Vectors, kind: IndexKind) -> Any:
    """Full unit vectors as the searched column holds them: cut and renormalised, or their signs, eight a byte."""
    short_ND = vectors_ND[:, : kind.dimensions] if kind.dimensions else vectors_ND
    if kind.precision == "binary":
        return np.packbits(short_ND > 0, axis=1)
    lengths_N1 = np.linalg.norm(short_ND, axis=1, keepdims=True)
    return (short_ND / np.maximum(lengths_N1, 1e-12)).astype(np.float32)


def _lists(vectors_ND: Any) -> Any:
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(vectors_ND.reshape(-1)), vectors_ND.shape[1])


def unit_vectors(vectors: Vectors, count: int, model: IndexedModel) -> Vectors:
    """The vectors, contiguous and float32.

    Raises:
        ModelError: they are not `count` unit vectors of the model's dimension.
    """
    checked = np.ascontiguousarray(vectors, dtype=np.float32)
    if checked.shape != (count, model.dimension):
        raise ModelError(f"{model.name} gave vectors of shape {checked.shape}; expected {(count, model.dimension)}")
    wrong = ~(np.abs(np.linalg.norm(checked, axis=1) - 1) < 1e-3)  # written so that NaN is wrong too
    if wrong.any():
        raise ModelError(f"{model.name} gave a vector (row {int(np.argmax(wrong))}) that is no unit vector")
    return checked
