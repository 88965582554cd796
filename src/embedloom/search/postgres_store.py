"""The store in PostgreSQL with pgvector: one table an index, what made it in the table's comment.

Building is one transaction, and so is every batch of a change: after a kill the server rolls back what was not
committed. Names are quoted as identifiers, values are parameters.
"""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from embedloom.errors import DataError
from embedloom.records import Document, Hit
from embedloom.search.kinds import IndexKind, check_kind
from embedloom.search.postgres_connection import (
    PREFIX,
    comment_of,
    connect,
    first_line,
    told_plainly,
    without_password,
)
from embedloom.search.store import Candidates
from embedloom.search.table import IndexedModel, kind_from, model_from
from embedloom.search.tags import Condition, tag_values

if TYPE_CHECKING:
    from embedloom.records import Vectors

ALLOWED = {"exact": ("float32", "float16", "binary"), "hnsw": ("float32", "float16", "binary")}
TYPES = {"text": "text", "integer": "bigint", "number": "double precision", "boolean": "boolean"}
EF_LIMIT = 1000
"""The most that pgvector's `hnsw.ef_search` can be."""


@contextmanager
def create_postgres(place: str, model: IndexedModel, kind: IndexKind, *, overwrite: bool) -> Iterator[PostgresStore]:
    """A store to fill, which the database has when the block ends well. See `index.create_index`."""
    check_kind(kind, model.dimension, ALLOWED, "PostgreSQL")
    connection, name = connect(place)
    store = PostgresStore(without_password(place), connection, name, model, kind)
    try:
        with told_plainly(store.place), connection.transaction():
            if comment_of(connection, name) is not None and not overwrite:
                what = "an index stands there; add to it, ask to overwrite it, or choose another name: ?index=NAME"
                raise DataError(what, store.place)
            store.create()
            yield store
    finally:
        connection.close()


def open_postgres(place: str) -> PostgresStore:
    """Opens a store.

    Raises:
        DataError: the server can't be reached, or has no index of this name that embedloom made.
    """
    shown = without_password(place)
    connection, name = connect(place)
    try:
        comment = comment_of(connection, name)
        if comment is None:
            raise DataError("no index here; make one with: embedloom index MODEL CORPUS --out INDEX", shown)
        told = json.loads(comment)
        return PostgresStore(shown, connection, name, model_from(told["model"]), kind_from(told["kind"]))
    except (DataError, KeyError, TypeError, ValueError) as error:
        connection.close()
        if isinstance(error, DataError) and error.path is not None:
            raise
        raise DataError("the table was not made by embedloom; choose another name: ?index=NAME", shown) from None


class PostgresStore:
    """A `Store` in a PostgreSQL table."""

    def __init__(self, place: str, connection: Any, name: str, model: IndexedModel, kind: IndexKind) -> None:
        from psycopg import sql

        self.place = place
        self.model = model
        self.kind = kind
        self._connection = connection
        # An index is not closed by whoever opened it; its connection goes with it.
        weakref.finalize(self, connection.close)
        self._name = name
        # Threads may search at once, and a connection has one transaction at a time.
        self._turn = threading.RLock()
        self._table = sql.Identifier(PREFIX + name)

    def create(self) -> None:
        """Makes the table, in place of one of this name that is there."""
        from psycopg import sql

        tags = [
            sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(TYPES[told]))
            for column, told in self.kind.columns.items()
        ]
        words = []
        if self.kind.words:
            made = sql.SQL("to_tsvector({}, title || ' ' || text)").format(self._language())
            words.append(sql.SQL("words tsvector GENERATED ALWAYS AS ({}) STORED").format(made))
        columns = [
            sql.SQL('id text COLLATE "C" PRIMARY KEY'), sql.SQL("title text NOT NULL"), sql.SQL("text text NOT NULL"),
            sql.SQL("vector vector({}) NOT NULL").format(sql.Literal(self.model.dimension)), *tags, *words,
        ]  # fmt: skip
        told = json.dumps({"model": asdict(self.model), "kind": asdict(self.kind)})
        self._run("DROP TABLE IF EXISTS {table}")
        self._run("CREATE TABLE {table} ({columns})", columns=sql.SQL(", ").join(columns))
        self._run("COMMENT ON TABLE {table} IS {told}", told=sql.Literal(told))

    def count(self, conditions: Sequence[Condition] = ()) -> int:
        """Documents that meet the conditions."""
        where, values = _where(conditions)
        return int(self._run("SELECT count(*) FROM {table} {where}", values, where=where).fetchone()[0])

    def nearest(
        self, q_QD: Vectors, limit: int, conditions: Sequence[Condition], *, exact: bool, probes: int
    ) -> list[Candidates]:
        """The `limit` nearest documents of each query; distances are 1 - cosine where every full vector is read."""
        from psycopg import sql

        where, values = _where(conditions)
        # What an index holds is found only by the very expression that it was made with.
        read, sign = (sql.SQL("vector"), "<=>") if exact else self._searched(sql.SQL("vector"))
        asked = sql.SQL("%s::vector") if exact else self._searched(sql.SQL("%s::vector"))[0]
        distance = sql.SQL("{} {} {}").format(read, sql.SQL(sign), asked)
        out = []
        with self._turn, self._connection.transaction():
            for name, value in self._settings(exact, limit, probes):
                self._connection.execute("SELECT set_config(%s, %s, true)", (name, value))
            for q_D in q_QD:
                rows = self._run(
                    "SELECT id, vector, {distance} AS distance FROM {table} {where} ORDER BY {distance} LIMIT %s",
                    (q_D, *values, q_D, limit), distance=distance, where=where,
                ).fetchall()  # fmt: skip
                d_ND = _vectors([row[1] for row in rows], len(q_D))
                distance_N = np.array([row[2] for row in rows], dtype=np.float32)
                out.append(Candidates([row[0] for row in rows], d_ND, distance_N))
        return out

    def words(self, query: str, limit: int, conditions: Sequence[Condition]) -> list[Hit]:
        """By `ts_rank`, divided by the logarithm of the document's length. Any word of the query counts."""
        where, values = _where(conditions, "words @@ asked.query")
        rows = self._run(
            "WITH asked AS (SELECT replace(plainto_tsquery({language}, %s)::text, ' & ', ' | ')::tsquery AS query) "
            "SELECT id, ts_rank(words, asked.query, 1) AS score FROM {table}, asked {where} "
            "ORDER BY score DESC, id DESC LIMIT %s",
            (query.replace("\0", " "), *values, limit), language=self._language(), where=where,
        ).fetchall()  # fmt: skip
        return [Hit(identity, float(score)) for identity, score in rows]

    def documents(self, ids: Sequence[str]) -> Iterator[Document]:
        """Those of the documents that are there, in any order."""
        # PostgreSQL's text holds no NUL, so no such id is there.
        wanted = [identity for identity in ids if "\0" not in identity]
        rows = self._run("SELECT id, title, text FROM {table} WHERE id = ANY(%s)", (wanted,)).fetchall()
        for identity, title, text in rows:
            yield Document(identity, text, title)

    def at(self, places: Sequence[int]) -> tuple[list[Document], Vectors]:
        """The documents at these places of the order of ids, with their vectors."""
        rows = self._run(
            "SELECT id, text, title, vector FROM {table} JOIN "
            "(SELECT id, row_number() OVER (ORDER BY id) - 1 AS place FROM {table}) AS numbered USING (id) "
            "WHERE place = ANY(%s) ORDER BY place",
            (list(places),),
        ).fetchall()
        return [Document(*row[:3]) for row in rows], _vectors([row[3] for row in rows], self.model.dimension)

    def add(self, documents: Sequence[Document], d_ND: Vectors) -> None:
        """Adds documents in one transaction."""
        with told_plainly(self.place), self._connection.transaction():
            self._copy(documents, d_ND)

    def replace(self, documents: Sequence[Document], d_ND: Vectors) -> None:
        """Adds documents, or puts them in place of those with the same ids, in one transaction."""
        with told_plainly(self.place), self._connection.transaction():
            self._run("DELETE FROM {table} WHERE id = ANY(%s)", ([document.id for document in documents],))
            self._copy(documents, d_ND)

    def retag(self, documents: Sequence[Document]) -> None:
        """Gives documents new tags, in one transaction."""
        from psycopg import sql

        columns = dict(tag_values(documents, self.kind.columns))
        named = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(column)) for column in columns)
        with told_plainly(self.place), self._connection.transaction():
            for document, *values in zip(documents, *columns.values(), strict=True):
                self._run("UPDATE {table} SET {named} WHERE id = %s", (*values, document.id), named=named)

    def delete(self, ids: Sequence[str]) -> int:
        """Removes documents in one transaction."""
        wanted = [identity for identity in ids if "\0" not in identity]
        with told_plainly(self.place), self._connection.transaction():
            return int(self._run("DELETE FROM {table} WHERE id = ANY(%s)", (wanted,)).rowcount)

    def note(self) -> str:
        """The note, from the comment of the vectors' column."""
        row = self._run(
            "SELECT col_description(attrelid, attnum) FROM pg_attribute "
            "WHERE attrelid = to_regclass(%s) AND attname = 'vector'",
            (PREFIX + self._name,),
        ).fetchone()
        return str((row and row[0]) or "")

    def keep_note(self, text: str) -> None:
        """Keeps a note in one transaction."""
        from psycopg import sql

        self._run("COMMENT ON COLUMN {table}.vector IS {note}", note=sql.Literal(text))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """A lock of the session: it goes with the connection, however that ends."""
        key = (PREFIX + self._name,)
        self._connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", key)
        try:
            yield
        finally:
            if not self._connection.broken:
                self._connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", key)

    def build(self) -> None:
        """Makes the graph and the index of words where they are not there; the server keeps them up to date."""
        from psycopg import sql

        with told_plainly(self.place), self._connection.transaction():
            if self.kind.kind == "hnsw":
                read, sign = self._searched(sql.SQL("vector"))
                family = {"float32": "vector", "float16": "halfvec", "binary": "bit"}[self.kind.precision]
                operators = sql.SQL(f"{family}_{'hamming' if sign == '<~>' else 'cosine'}_ops")
                self._run(
                    "CREATE INDEX IF NOT EXISTS {name} ON {table} USING hnsw (({read}) {operators})",
                    name=sql.Identifier(f"{PREFIX}{self._name}_graph"), read=read, operators=operators,
                )  # fmt: skip
            if self.kind.words:
                name = sql.Identifier(f"{PREFIX}{self._name}_words")
                self._run("CREATE INDEX IF NOT EXISTS {name} ON {table} USING gin (words)", name=name)
        self._run("ANALYZE {table}")

    def _copy(self, documents: Sequence[Document], d_ND: Vectors) -> None:
        from psycopg import sql

        tags = dict(tag_values(documents, self.kind.columns))
        columns = sql.SQL(", ").join(map(sql.Identifier, ["id", "title", "text", "vector", *tags]))
        copy = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(self._table, columns)
        kinds = {"text": "text", "integer": "int8", "number": "float8", "boolean": "bool"}
        with self._connection.cursor() as cursor, cursor.copy(copy) as rows:
            rows.set_types(["text", "text", "text", "vector", *(kinds[self.kind.columns[tag]] for tag in tags)])
            for document, d_D, *values in zip(documents, d_ND, *tags.values(), strict=True):
                rows.write_row((document.id, document.title, document.text, d_D, *values))

    def _searched(self, vector: Any) -> tuple[Any, str]:
        """What of a vector is compared first, and the operator that compares it."""
        from psycopg import sql

        size = sql.Literal(self.kind.dimensions or self.model.dimension)
        if self.kind.dimensions:
            vector = sql.SQL("subvector({}, 1, {})").format(vector, size)
        if self.kind.precision == "binary":
            return sql.SQL("binary_quantize({})::bit({})").format(vector, size), "<~>"
        kind = "halfvec" if self.kind.precision == "float16" else "vector"
        return sql.SQL("({})::{}({})").format(vector, sql.SQL(kind), size), "<=>"

    def _settings(self, exact: bool, limit: int, probes: int) -> list[tuple[str, str]]:
        if exact:
            return [("enable_indexscan", "off")]
        if self.kind.kind != "hnsw":
            return []
        # Iterative: where conditions leave too few of the graph's first candidates, it looks further.
        width = min(EF_LIMIT, max(probes, limit, 64))
        return [("hnsw.ef_search", str(width)), ("hnsw.iterative_scan", "relaxed_order")]

    def _language(self) -> Any:
        from psycopg import sql

        return sql.SQL("{}::regconfig").format(sql.Literal(self.kind.words))

    def _run(self, text: str, values: Sequence[Any] = (), **parts: Any) -> Any:
        import psycopg
        from psycopg import sql

        try:
            return self._connection.execute(sql.SQL(text).format(table=self._table, **parts), tuple(values) or None)
        except psycopg.Error as error:
            raise DataError(f"PostgreSQL can't do it ({first_line(error)})", self.place) from None


def _where(conditions: Sequence[Condition], first: str = "") -> tuple[Any, list[Any]]:
    """The conditions as a WHERE clause with marks for their values, and the values."""
    from psycopg import sql

    parts: list[Any] = [sql.SQL(first)] if first else []
    values: list[Any] = []
    for one in conditions:
        column = sql.Identifier(one.column)
        several = isinstance(one.value, tuple)
        sign = sql.SQL("= ANY(%s)" if several else f"{one.operator} %s")
        parts.append(sql.SQL("{} {}").format(column, sign))
        values.append(list(one.value) if isinstance(one.value, tuple) else one.value)
    return sql.SQL("WHERE {}").format(sql.SQL(" AND ").join(parts)) if parts else sql.SQL(""), values


def _vectors(found: Sequence[Any], dimension: int) -> Vectors:
    """What the driver reads of a column of vectors, shape (rows, dimension); arrays, or objects that hold one."""
    numbers = [vector.to_numpy() if hasattr(vector, "to_numpy") else vector for vector in found]
    return np.array(numbers, dtype=np.float32).reshape(len(found), dimension)
