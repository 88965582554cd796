"""Texts with a label: JSONL with `text` and `label`, for classification and clustering."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from embedloom.data.fields import identity_of, text_of
from embedloom.errors import DataError
from embedloom.run import read_objects


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text and the class it belongs to."""

    text: str
    label: str


def read_labels(path: Path) -> tuple[LabelledText, ...]:
    """Reads texts with labels; a whole number as a label is taken as text. `.gz` too.

    Raises:
        DataError: a malformed line, a missing or empty text or label, or fewer than two different labels.
    """
    rows = tuple(
        LabelledText(text_of(obj, "text", path, line), identity_of(obj, "label", path, line))
        for line, obj in read_objects(path)
    )
    labels = {row.label for row in rows}
    if len(labels) < 2:
        raise DataError(f"expected at least two different labels, found {len(labels)}", path)
    return rows
