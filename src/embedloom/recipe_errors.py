"""What is wrong with a recipe, in one sentence that names the key and, where it is unknown, the nearest known one."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError


def explain(error: ValidationError, recipe: type[BaseModel]) -> str:
    """The first of the errors that validation of a `recipe` found."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _known_keys(first["loc"][:-1], recipe)
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        return f"unknown key {place!r}; {hint}"
    if first["type"] == "missing":
        return f"key {place!r} is missing"
    if first["type"] == "model_type":
        keys = _known_keys(first["loc"], recipe)
        return f"{place!r} is a section, set by its keys: {', '.join(f'{place}.{key}' for key in keys[:3])} ..."
    shown = json.dumps(first["input"], ensure_ascii=False, default=str)
    said = first["msg"].removeprefix("Value error, ")
    return f"key {place!r}: {said[0].lower()}{said[1:]}, got {shown[:80]}"


def _known_keys(place: Sequence[int | str], recipe: type[BaseModel]) -> list[str]:
    kind: Any = recipe
    for part in place:
        if isinstance(part, int):
            continue
        annotation = kind.model_fields[part].annotation
        inner = [
            arg for arg in getattr(annotation, "__args__", ()) if isinstance(arg, type) and issubclass(arg, BaseModel)
        ]
        kind = inner[0] if inner else annotation
    return list(kind.model_fields)
