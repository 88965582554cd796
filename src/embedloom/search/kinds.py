"""Kinds of index by name: what is searched, how, and what comes after. Every store keeps the full vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from embedloom.errors import DataError

KINDS = ("exact", "ivf-pq", "hnsw")
PRECISIONS = ("float32", "float16", "int8", "binary")
LANGUAGES = (
    "arabic", "danish", "dutch", "english", "finnish", "french", "german", "greek", "hungarian", "italian", "norwegian",
    "portuguese", "romanian", "russian", "spanish", "swedish", "tamil", "turkish",
)  # fmt: skip
"""Whose words every store can bring to their stems; `simple` leaves words as they are."""
WORDS = ("", "simple", *LANGUAGES)


@dataclass(frozen=True, slots=True)
class IndexKind:
    """How an index is searched.

    Attributes:
        kind: `exact` reads all, `ivf-pq` the nearest of many cells in compressed form, `hnsw` walks a graph.
        precision: of the vectors that are read first: `float32`, `float16`, `int8`, or `binary` (the signs).
        dimensions: of the vectors that are read first (Matryoshka); 0 is all.
        words: language of the full-text search, `simple` for none in particular; empty for no full-text search.
        columns: tags to search by, with their types.
    """

    kind: str = "exact"
    precision: str = "float32"
    dimensions: int = 0
    words: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether the full vectors themselves are searched, all of them: nothing to rescore, the order is exact."""
        return (self.kind, self.precision, self.dimensions) == ("exact", "float32", 0)

    @property
    def coarse(self) -> bool:
        """Whether what is read first has a byte or less for several numbers of a vector."""
        return self.kind == "ivf-pq" or self.precision == "binary"


def check_kind(kind: IndexKind, dimension: int, allowed: Mapping[str, tuple[str, ...]], store: str) -> None:
    """Refuses what there is not.

    Args:
        kind: what is wanted.
        dimension: of the model's vectors.
        allowed: precisions of each kind that the store has.
        store: its name.

    Raises:
        DataError: the store has no such kind or precision, or the model fewer dimensions.
    """
    if kind.kind not in allowed:
        raise DataError(f"{store} has no index of kind {kind.kind!r}; expected {', '.join(allowed)}")
    if kind.precision not in allowed[kind.kind]:
        there = ", ".join(allowed[kind.kind])
        raise DataError(f"{store} has no {kind.kind} index of {kind.precision} vectors; expected {there}")
    if kind.dimensions and not 8 <= kind.dimensions < dimension:
        raise DataError(f"{kind.dimensions} dimensions of a model that has {dimension}; expected 8 to {dimension - 1}")
    if kind.words not in WORDS:
        raise DataError(f"unknown language {kind.words!r} of full-text search; expected {', '.join(WORDS[1:])}")
