"""Values of a JSON line that a reader needs, with errors that name the file and the line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedloom.errors import DataError


def text_of(obj: Mapping[str, Any], key: str, path: Path, line: int) -> str:
    """The text at `key`, which must be there and not blank.

    Raises:
        DataError: the key is missing, its value is no string, or it is blank.
    """
    value = _present(obj, key, path, line)
    if not isinstance(value, str):
        raise DataError(f"key {key!r}: expected text, got {type(value).__name__}", path, line)
    if not value.strip():
        raise DataError(f"key {key!r} is empty; every row needs a text there", path, line)
    return value


def identity_of(obj: Mapping[str, Any], key: str, path: Path, line: int) -> str:
    """The id at `key`: text, or a whole number that is taken as text."""
    value = _present(obj, key, path, line)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise DataError(f"key {key!r}: expected an id (text or a whole number), got {value!r}", path, line)
    return str(value)


def number_of(obj: Mapping[str, Any], key: str, path: Path, line: int) -> float:
    """The finite number at `key`."""
    value = _present(obj, key, path, line)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"key {key!r}: expected a finite number, got {value!r}", path, line)
    return float(value)


def texts_of(obj: Mapping[str, Any], key: str, path: Path, line: int) -> tuple[str, ...]:
    """The list of texts at `key`, none of them blank; the list may be empty."""
    value = _present(obj, key, path, line)
    if not isinstance(value, list):
        raise DataError(f"key {key!r}: expected a list of texts, got {type(value).__name__}", path, line)
    for text in value:
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"key {key!r} holds {text!r}; expected texts that are not empty", path, line)
    return tuple(value)


def _present(obj: Mapping[str, Any], key: str, path: Path, line: int) -> Any:
    if key not in obj:
        raise DataError(f"key {key!r} is missing; the line has {', '.join(map(repr, obj)) or 'no keys'}", path, line)
    return obj[key]
