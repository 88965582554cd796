"""Documents with tags, and conditions on tags: which column, compared how, with what value.

A condition is data. Its column must be one that the index has, its value becomes of that column's type, and a store
hands both to its database as an expression or a parameter: neither ever becomes part of a query's text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from embedloom.errors import DataError
from embedloom.records import Document

Value = str | int | float | bool | None
TYPES: Mapping[str, type] = {"text": str, "integer": int, "number": float, "boolean": bool}
OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "in")
RESERVED = ("id", "title", "text", "vector", "short", "bits", "words", "asked")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,50}")
_CONDITION = re.compile(r"\s*(\w+)\s*(!=|<=|>=|=|<|>|\bin\b)\s*(.*?)\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class TaggedDocument(Document):
    """A document with values of the index's columns; those it has no value for are null there."""

    tags: Mapping[str, Value] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Condition:
    """What a document's tag must be for it to be found; a document without the tag never is."""

    column: str
    operator: str
    value: Value | tuple[Value, ...]


def read_columns(given: Iterable[str]) -> dict[str, str]:
    """Columns by name, `year:integer`; without a type they hold text.

    Raises:
        DataError: no lower-case name, one that the index has already, or an unknown type.
    """
    columns: dict[str, str] = {}
    for one in given:
        name, _, kind = one.partition(":")
        kind = kind or "text"
        if not _NAME.fullmatch(name) or name in RESERVED or name in columns:
            what = "names a column twice or one of the index's own" if _NAME.fullmatch(name) else "names no column"
            raise DataError(f"{one!r} {what}; expected lower-case letters, digits and _, as in year:integer")
        if kind not in TYPES:
            raise DataError(f"{one!r}: unknown type {kind!r}; expected {', '.join(TYPES)}")
        columns[name] = kind
    return columns


def read_conditions(given: Iterable[str]) -> list[Condition]:
    """Conditions as people write them: `year >= 2020`, `lang = en`, `lang in ["en", "de"]`.

    Raises:
        DataError: it can't be read.
    """
    return [_condition(text) for text in given]


def checked(conditions: Sequence[Condition], columns: Mapping[str, str]) -> list[Condition]:
    """The conditions with values of their columns' types.

    Raises:
        DataError: a column that the index doesn't have, an unknown operator, or a value of another type.
    """
    out = []
    for one in conditions:
        if one.column not in columns:
            known = ", ".join(columns) or "none: name them when you make the index"
            raise DataError(f"the index has no column {one.column!r} to search by; it has {known}")
        if one.operator not in OPERATORS:
            raise DataError(f"unknown comparison {one.operator!r}; expected {' '.join(OPERATORS)}")
        kind = columns[one.column]
        several = one.operator == "in"
        if several != isinstance(one.value, tuple) or one.value in ((), None):
            raise DataError(f"{one.column} {one.operator}: expected {'a list' if several else 'one value'}")
        values = one.value if isinstance(one.value, tuple) else (one.value,)
        typed = tuple(typed_value(value, kind, one.column) for value in values)
        out.append(Condition(one.column, one.operator, typed if several else typed[0]))
    return out


def typed_value(value: Value, kind: str, column: str) -> Value:
    """A tag's value as its column holds it; text that spells a number or true and false is read.

    Raises:
        DataError: it is of another type.
    """
    wrong = DataError(f"column {column!r} holds {kind}, got {value!r}")
    if value is None or (kind == "text" and isinstance(value, str)):
        return value
    try:
        if kind == "boolean":
            return {"true": True, "false": False}[str(value).lower()]
        if isinstance(value, bool) or kind == "text":
            raise wrong
        number = float(value)
        if kind == "integer":
            whole = int(value) if isinstance(value, str | int) else int(number)
            if whole != number or not -(2**63) <= whole < 2**63:
                raise wrong
            return whole
        if not math.isfinite(number):
            raise wrong
        return number
    except (KeyError, ValueError, OverflowError):
        raise wrong from None


def tag_values(documents: Sequence[Document], columns: Mapping[str, str]) -> Iterator[tuple[str, list[Value]]]:
    """Each column's name and its value of every document.

    Raises:
        DataError: a value of another type; names the document.
    """
    for column, kind in columns.items():
        values = []
        for document in documents:
            tags = document.tags if isinstance(document, TaggedDocument) else {}
            try:
                values.append(typed_value(tags.get(column), kind, column))
            except DataError as error:
                raise DataError(f"document {document.id!r}: {error}") from None
        yield column, values


def _condition(text: str) -> Condition:
    found = _CONDITION.fullmatch(text)
    if found is None or not found[3]:
        raise DataError(f"the condition {text!r} can't be read; expected COLUMN = VALUE, or < <= > >= != in")
    column, operator, value = found.groups()
    if operator != "in":
        return Condition(column, operator, value)
    try:
        several = json.loads(value)
    except (ValueError, RecursionError):
        several = None
    if not isinstance(several, list) or not all(isinstance(one, str | int | float) for one in several):
        raise DataError(f'the condition {text!r}: expected a list as in {column} in ["a", "b"]')
    return Condition(column, operator, tuple(several))
