"""The store in LanceDB: a folder, or a place on an object store by its URI."""

from __future__ import annotations

import fcntl
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embedloom.errors import DataError
from embedloom.records import Document, Hit
from embedloom.run import atomic_folder
from embedloom.search.kinds import IndexKind, check_kind
from embedloom.search.store import Candidates
from embedloom.search.table import (
    TABLE,
    IndexedModel,
    searched_column,
    searched_vectors,
    stored_kind,
    stored_model,
    table_rows,
    table_schema,
    tag_rows,
)
from embedloom.search.tags import Condition

if TYPE_CHECKING:
    from embedloom.records import Vectors

_NONE = "no index here; make one with: embedloom index MODEL CORPUS --out INDEX"
ALLOWED = {"exact": ("float32", "int8", "binary"), "ivf-pq": ("float32",), "hnsw": ("float32", "int8")}
TRAINED = 256
"""Rows that an approximate index needs; a smaller table is read whole, which is fast."""
ITERATIONS = 10
"""Of the k-means behind `ivf-pq`, which is most of the build; recall is the same after ten as after LanceDB's fifty."""
BUILDING = b"embedloom.building"
NOTE = b"embedloom.note"
DOCUMENT = ["id", "title", "text"]
Compare = Callable[[Any, Any], Any]
COMPARE: dict[str, Compare] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


@contextmanager
def create_lance(place: str, model: IndexedModel, kind: IndexKind, *, overwrite: bool) -> Iterator[LanceStore]:
    """A store to fill, which stands at `place` when the block ends. See `index.create_index`.

    A folder appears whole. On an object store, which renames nothing, an unfinished index is there and refused.
    """
    check_kind(kind, model.dimension, ALLOWED, "LanceDB")
    if is_uri(place):
        there = TABLE in _connect(place).list_tables().tables
    else:
        there = _holds_index(Path(place))
        if Path(place).exists() and not there:
            raise DataError("is there and no index; choose another place", place)
    if there and not overwrite:
        raise DataError("an index stands there; add to it, ask to overwrite it, or choose another place", place)
    schema = table_schema(model, kind)
    if is_uri(place):
        unfinished = schema.with_metadata({**schema.metadata, BUILDING: b"1"})
        with _told(place):
            table = _connect(place).create_table(TABLE, schema=unfinished, mode="overwrite" if overwrite else "create")
        yield LanceStore(place, table, model, kind)
        with _told(place):
            table.update_field_metadata({"path": "id", "metadata": {BUILDING.decode(): "0"}})
        return
    with atomic_folder(Path(place)) as partial:
        with _told(place):
            table = _connect(str(partial)).create_table(TABLE, schema=schema)
        yield LanceStore(str(partial), table, model, kind)


def open_lance(place: str) -> LanceStore:
    """Opens a store.

    Raises:
        DataError: there is none, it was not finished, or embedloom did not make it.
    """
    if not is_uri(place) and not _holds_index(Path(place)):
        raise DataError(_NONE, place)
    try:
        table = _connect(place).open_table(TABLE)
        schema = table.schema
        finished = (schema.field("id").metadata or {}).get(BUILDING) == b"0"
        if BUILDING in (schema.metadata or {}) and not finished:
            raise DataError("it was not finished")
        return LanceStore(place, table, stored_model(schema), stored_kind(schema))
    except (DataError, KeyError, OSError, RuntimeError, ValueError) as error:
        if f"Table '{TABLE}' was not found" in str(error):
            raise DataError(_NONE, place) from None
        raise DataError(f"the index can't be opened ({_first(error)}); build it again", place) from None


class LanceStore:
    """A `Store` in a LanceDB table, each change of which is a new version of it."""

    def __init__(self, place: str, table: Any, model: IndexedModel, kind: IndexKind) -> None:
        self.place = place
        self.model = model
        self.kind = kind
        self._table = table

    def count(self, conditions: Sequence[Condition] = ()) -> int:
        """Documents that meet the conditions."""
        if not conditions:
            return int(self._table.count_rows())
        # Counting takes a filter as text alone; what a condition says never becomes text.
        rows = self._table.search().where(_expression(conditions)).select([conditions[0].column]).limit(None)
        return int(rows.to_arrow().num_rows)

    def nearest(
        self, q_QD: Vectors, limit: int, conditions: Sequence[Condition], *, exact: bool, probes: int
    ) -> list[Candidates]:
        """The `limit` nearest documents of each query; distances are 1 - cosine where every full vector is read."""
        column = "vector" if exact else searched_column(self.kind)
        asked = list(q_QD if exact else searched_vectors(q_QD, self.kind))
        query: Any = self._table.search(asked, vector_column_name=column)
        query = query.distance_type("hamming" if column == "bits" else "dot").limit(limit)
        if exact:
            query = query.bypass_vector_index()
        elif self.kind.kind == "hnsw":
            query = query.ef(max(probes, limit * 3 // 2, 64))
        elif self.kind.kind == "ivf-pq":
            query = query.nprobes(probes or max(8, self._partitions() // 10))
        if conditions:
            query = query.where(_expression(conditions), prefilter=True)
        found = query.select(["id", "vector", "_distance"]).to_arrow()
        count = len(q_QD)
        # Several vectors in one query come back in one table, told apart by query_index; one vector has no such column.
        owner = found["query_index"].to_numpy() if count > 1 else np.zeros(len(found), dtype=np.int32)
        ids = found["id"].to_pylist()
        d_ND = found["vector"].combine_chunks().flatten().to_numpy().reshape(len(found), -1)
        distance_N = found["_distance"].to_numpy()
        out = []
        for number in range(count):
            rows = np.flatnonzero(owner == number)
            out.append(Candidates([ids[i] for i in rows], d_ND[rows], distance_N[rows]))
        return out

    def words(self, query: str, limit: int, conditions: Sequence[Condition]) -> list[Hit]:
        """By BM25 over title and text, summed."""
        from lancedb.query import MultiMatchQuery

        # Its other arguments have defaults, which its types don't say.
        asked = self._table.search(MultiMatchQuery(query, ["title", "text"]))  # type: ignore[call-arg]
        if conditions:
            asked = asked.where(_expression(conditions))
        rows = asked.select(["id", "_score"]).limit(limit).to_list()
        return [Hit(row["id"], float(row["_score"])) for row in rows]

    def documents(self, ids: Sequence[str]) -> Iterator[Document]:
        """Those of the documents that are there, in any order."""
        rows = self._table.search().where(_with_ids(ids)).select(DOCUMENT).limit(len(ids)).to_list() if ids else []
        for row in rows:
            yield Document(row["id"], row["text"], row["title"])

    def at(self, places: Sequence[int]) -> tuple[list[Document], Vectors]:
        """The documents at these places, by id, with their vectors."""
        # It is not said in which order they come back.
        rows = self._table.take_offsets(list(places)).select([*DOCUMENT, "vector"]).to_arrow().sort_by("id")
        columns = (rows[name].to_pylist() for name in ("id", "text", "title"))
        documents = [Document(*one) for one in zip(*columns, strict=True)]
        flat = rows["vector"].combine_chunks().flatten().to_numpy()
        return documents, flat.reshape(len(documents), self.model.dimension)

    def add(self, documents: Sequence[Document], d_ND: Vectors) -> None:
        """Appends documents in one commit."""
        rows = table_rows(documents, d_ND, self.model, self.kind)
        with _told(self.place):
            self._table.add(rows)

    def replace(self, documents: Sequence[Document], d_ND: Vectors) -> None:
        """Adds documents, or puts them in place of those with the same ids, in one commit."""
        rows = table_rows(documents, d_ND, self.model, self.kind)
        merge = self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
        with _told(self.place):
            merge.execute(rows)

    def retag(self, documents: Sequence[Document]) -> None:
        """Gives documents new tags, in one commit."""
        with _told(self.place):
            self._table.merge_insert("id").when_matched_update_all().execute(tag_rows(documents, self.kind))

    def delete(self, ids: Sequence[str]) -> int:
        """Removes documents in one commit."""
        with _told(self.place):
            return int(self._table.delete(_with_ids(ids)).num_deleted_rows) if ids else 0

    def note(self) -> str:
        """The note, from the metadata of the vectors' column."""
        metadata = self._table.schema.field("vector").metadata or {}
        return str(metadata.get(NOTE, b""), "ascii", "replace")

    def keep_note(self, text: str) -> None:
        """Keeps a note in one commit."""
        with _told(self.place):
            self._table.update_field_metadata({"path": "vector", "metadata": {NOTE.decode(): text}})

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Between the look for known ids and the commit nobody else may add one; an object store has no such lock."""
        with ExitStack() as held:
            if not is_uri(self.place):
                file = held.enter_context(open(Path(self.place) / ".lock", "a", encoding="utf-8"))
                fcntl.flock(file, fcntl.LOCK_EX)
            self._table.checkout_latest()
            yield

    def build(self) -> None:
        """Makes the indexes, merges the files of many appends and drops old versions."""
        with _told(self.place):
            config = self._configuration()
            if config is not None:
                self._table.create_index(searched_column(self.kind), config=config)
            if self.kind.words:
                self._build_words()
            self._table.optimize(cleanup_older_than=timedelta(milliseconds=1), delete_unverified=True)

    def _configuration(self) -> Any:
        from lancedb.index import HnswFlat, HnswSq, IvfPq, IvfSq

        kind, dimension = self.kind, self.kind.dimensions or self.model.dimension
        if self.count() < TRAINED:
            return None
        if kind.kind == "ivf-pq":
            # Four numbers a byte, where they can be told apart so: with eight, too many of the best are not among the
            # candidates, however many cells are read.
            per_byte = next(width for width in (4, 2, 1) if dimension % width == 0)
            return IvfPq(
                distance_type="dot", num_partitions=self._partitions(), num_sub_vectors=dimension // per_byte,
                max_iterations=ITERATIONS,
            )  # fmt: skip
        if kind.kind == "hnsw":
            graph = HnswSq if kind.precision == "int8" else HnswFlat
            return graph(distance_type="dot", num_partitions=1, m=16, ef_construction=150)
        return IvfSq(distance_type="dot", num_partitions=1) if kind.precision == "int8" else None

    def _partitions(self) -> int:
        return max(1, math.isqrt(self.count()))

    def _build_words(self) -> None:
        from lancedb.index import FTS

        own = self.kind.words != "simple"
        language = self.kind.words.capitalize() if own else "English"
        for column in ("title", "text"):
            config = FTS(language=language, stem=own, remove_stop_words=False, ascii_folding=own)
            self._table.create_index(column, config=config)


def is_uri(place: str) -> bool:
    """Whether a place is no folder of this machine's own."""
    return "://" in place


def _expression(conditions: Sequence[Condition]) -> Any:
    """The conditions as an expression, not as SQL text: a value is whatever somebody asks for."""
    from lancedb.expr import col, lit

    def one(condition: Condition) -> Any:
        if isinstance(condition.value, tuple):
            return col(condition.column).isin(list(condition.value))  # type: ignore[arg-type]
        return COMPARE[condition.operator](col(condition.column), lit(condition.value))  # type: ignore[arg-type]

    return reduce(operator.and_, map(one, conditions))


def _with_ids(ids: Sequence[str]) -> Any:
    from lancedb.expr import col

    # An expression, not a SQL text: an id is whatever the user's file says.
    return col("id").isin(list(ids))


@contextmanager
def _told(place: str) -> Iterator[None]:
    """Turns what LanceDB says of a change that failed into a sentence; what was committed before is still there."""
    try:
        yield
    except DataError:
        raise
    except (OSError, RuntimeError) as error:
        what = f"can't be written ({_first(error)}); what was there before is as it was"
        raise DataError(what, place) from None


def _first(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__


def _holds_index(place: Path) -> bool:
    return (place / f"{TABLE}.lance").is_dir()


def _connect(place: str) -> Any:
    import lancedb

    return lancedb.connect(place)
