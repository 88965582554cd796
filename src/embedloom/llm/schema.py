"""JSON schemas of replies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def string_object_schema(keys: Sequence[str], *, filled: bool = True) -> dict[str, Any]:
    """JSON schema of an object with exactly these string values.

    Args:
        keys: names of the values, all required.
        filled: forbids empty strings. Some servers refuse a schema that says so.
    """
    kind: dict[str, Any] = {"type": "string", "minLength": 1} if filled else {"type": "string"}
    return {
        "type": "object",
        "properties": {key: dict(kind) for key in keys},
        "required": list(keys),
        "additionalProperties": False,
    }
