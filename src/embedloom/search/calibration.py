"""The threshold of source attribution, kept with the index that it was measured on.

It belongs to a model and a corpus together, so the index is where it is looked for: measured the first time that
somebody asks, and again when the corpus or the instruction is another.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from embedloom.errors import DataError
from embedloom.search.attribute import INSTRUCTION, LEVEL, background_threshold

if TYPE_CHECKING:
    from embedloom.records import Embedder, Progress
    from embedloom.search.index import VectorIndex

GROWTH = 1.5
"""How many times as many or as few documents as it was measured on make the figure stale."""


def stored_threshold(index: VectorIndex, *, instruction: str = INSTRUCTION) -> float | None:
    """The threshold that was measured on this index for this instruction; None if there is none that holds."""
    found = _stored(index).get(instruction)
    try:
        if not isinstance(found, dict) or found["level"] != LEVEL or found["fingerprint"] != index.model.fingerprint:
            return None
        documents, threshold = int(found["documents"]), float(found["threshold"])
    except (KeyError, TypeError, ValueError):
        return None
    return threshold if documents / GROWTH <= len(index) <= documents * GROWTH else None


def measured_threshold(
    index: VectorIndex, embedder: Embedder, *, instruction: str = INSTRUCTION, progress: Progress | None = None
) -> float:
    """Measures the threshold and keeps it with the index, if that can be written.

    Args:
        index: the documents.
        embedder: the model that made it.
        instruction: what a sentence is to the model.
        progress: called with the number of texts encoded.

    Raises:
        FingerprintError: another model made the index.
    """
    threshold = background_threshold(index, embedder, instruction=instruction, progress=progress)
    entry = {
        "fingerprint": index.model.fingerprint,
        "documents": len(index),
        "level": LEVEL,
        "threshold": round(threshold, 6),
    }
    # An index that is only read still has a threshold; it is measured each time.
    with suppress(DataError):
        index.store.keep_note(json.dumps(_stored(index) | {instruction: entry}))
    return threshold


def _stored(index: VectorIndex) -> dict[str, Any]:
    try:
        found = json.loads(index.store.note())
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
