"""The table of an index: its schema, with the model in the metadata, and the rows that go in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from embedloom.errors import DataError, ModelError
from embedloom.records import Document

if TYPE_CHECKING:
    from embedloom.records import Vectors

TABLE = "documents"
METADATA_KEY = b"embedloom"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class IndexedModel:
    """What the index knows about the model of its vectors."""

    name: str
    fingerprint: str
    dimension: int
    instruction: str = ""
    format: int = FORMAT


def table_schema(model: IndexedModel) -> Any:
    """The Arrow schema of a table that holds vectors of `model`."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("title", pa.large_string(), nullable=False),
            pa.field("text", pa.large_string(), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), model.dimension), nullable=False),
        ],
        metadata={METADATA_KEY: json.dumps(asdict(model))},
    )


def stored_model(schema: Any) -> IndexedModel:
    """The model that a table's schema names.

    Raises:
        DataError: the schema has no such metadata, or that of another version.
    """
    try:
        model = IndexedModel(**json.loads((schema.metadata or {})[METADATA_KEY]))
    except (KeyError, TypeError, ValueError):
        raise DataError("not a table that embedloom made") from None
    if model.format != FORMAT:
        raise DataError(f"the index has format {model.format}; this version reads format {FORMAT}")
    return model


def table_rows(documents: Sequence[Document], d_ND: Vectors, model: IndexedModel) -> Any:
    """An Arrow table of documents and their vectors, shape (documents, dimension).

    Raises:
        DataError: text that is not Unicode (half a surrogate pair).
    """
    import pyarrow as pa

    columns: list[Any] = []
    try:
        columns.append(pa.array([d.id for d in documents], pa.string()))
        columns.append(pa.array([d.title for d in documents], pa.large_string()))
        columns.append(pa.array([d.text for d in documents], pa.large_string()))
    except UnicodeEncodeError as error:
        raise DataError(f"a document holds text that is not Unicode ({error.reason})") from None
    columns.append(pa.FixedSizeListArray.from_arrays(pa.array(d_ND.reshape(-1)), model.dimension))
    return pa.Table.from_arrays(columns, schema=table_schema(model))


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
