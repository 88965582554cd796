"""A connection to PostgreSQL with pgvector, by the name of an index in it, and what the server says in a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from embedloom.errors import DataError, MissingExtraError

PREFIX = "embedloom_"
"""Of the names of tables, so that none of somebody else's is touched."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")


def connect(place: str) -> tuple[Any, str]:
    """A connection, and the name of the index in `?index=`."""
    try:
        import psycopg
        from pgvector.psycopg import register_vector
    except ImportError as error:
        raise MissingExtraError(error.name or "psycopg", "pgvector") from None
    url = urlsplit(place)
    options = dict(parse_qsl(url.query))
    name = options.pop("index", "documents")
    if not _NAME.fullmatch(name):
        raise DataError(f"index name {name!r}: expected lower-case letters, digits and _, 41 at most")
    shown = without_password(place)
    try:
        connection = psycopg.connect(
            urlunsplit(url._replace(query=urlencode(options, quote_via=quote))), autocommit=True
        )
    except psycopg.Error as error:
        raise DataError(f"PostgreSQL can't be reached ({first_line(error)})", shown) from None
    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        register_vector(connection)
    except psycopg.Error as error:
        connection.close()
        what = f"the database has no pgvector ({first_line(error)}); install it on the server"
        raise DataError(f"{what}, and as its owner: CREATE EXTENSION vector", shown) from None
    return connection, name


def comment_of(connection: Any, name: str) -> str | None:
    """The comment of an index's table: empty where it has none, None where there is no table."""
    row = connection.execute(
        "SELECT coalesce(obj_description(to_regclass(%s)::oid, 'pg_class'), '') WHERE to_regclass(%s) IS NOT NULL",
        (PREFIX + name, PREFIX + name),
    ).fetchone()
    return None if row is None else str(row[0])


def without_password(place: str) -> str:
    """The name of an index as messages may show it."""
    url = urlsplit(place)
    return urlunsplit(url._replace(netloc=re.sub(r":[^@]*@", "@", url.netloc)))


@contextmanager
def told_plainly(place: str) -> Iterator[None]:
    """Turns what the server says of a change that failed into a sentence; it has rolled the change back."""
    import psycopg

    try:
        yield
    except UnicodeEncodeError as error:
        raise DataError(f"a document holds text that is not Unicode ({error.reason})", place) from None
    except psycopg.Error as error:
        raise DataError(f"can't be written ({first_line(error)}); what was there before is as it was", place) from None


def first_line(error: Exception) -> str:
    """What an error says, in a line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
