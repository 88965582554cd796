"""What an index asks of the database behind it. Two are there: LanceDB (a folder or a URI), and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from embedloom.records import Document, Hit
from embedloom.search.kinds import IndexKind
from embedloom.search.table import IndexedModel
from embedloom.search.tags import Condition

if TYPE_CHECKING:
    from embedloom.records import Vectors

NEAR = 1e-5
"""Distances of float32 that differ by less may stand in either order: more than the rounding of any summation order."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """What a store found for one query: ids, full vectors (candidates, dimension), its own distances."""

    ids: list[str]
    vectors: Vectors
    distances: Vectors

    def best(self, q_D: Vectors, k: int) -> tuple[list[Hit], bool]:
        """The `k` best by exact cosine, and whether no document outside the candidates could be one of them.

        The latter holds only where the store read every full vector.
        """
        # Row sums of products in float64: equal vectors get equal scores wherever they stand, which a matrix product
        # doesn't promise.
        score_N = (self.vectors.astype(np.float64) * q_D).sum(axis=1)
        hits = sorted((Hit(i, float(s)) for i, s in zip(self.ids, score_N, strict=True)), key=rank, reverse=True)
        distance = np.sort(self.distances)
        return hits[:k], len(distance) > k and bool(distance[-1] - distance[k - 1] > NEAR)


def rank(hit: Hit) -> tuple[float, str]:
    """What hits are ordered by, last first."""
    return hit.score, hit.document_id


class Store(Protocol):
    """A table of documents, tags and vectors of one model. A change is one commit: whole after a kill, or absent."""

    @property
    def place(self) -> str:
        """The index's name, as a user gives it."""

    @property
    def model(self) -> IndexedModel:
        """Whose vectors it holds."""

    @property
    def kind(self) -> IndexKind:
        """How it is searched."""

    def count(self, conditions: Sequence[Condition] = ()) -> int:
        """Documents that meet the conditions."""

    def nearest(
        self, q_QD: Vectors, limit: int, conditions: Sequence[Condition], *, exact: bool, probes: int
    ) -> list[Candidates]:
        """The `limit` documents nearest to each query that meet the conditions.

        Args:
            q_QD: full unit vectors, shape (queries, dimension).
            limit: of each query.
            conditions: all of them must hold.
            exact: read every full vector, whatever the kind.
            probes: how widely an approximate index looks; 0 is its own choice.
        """

    def words(self, query: str, limit: int, conditions: Sequence[Condition]) -> list[Hit]:
        """The `limit` best documents that share a word with the query, best first. Only where `kind.words` is set."""

    def documents(self, ids: Sequence[str]) -> Iterator[Document]:
        """Those of the documents that are there, in any order."""

    def at(self, places: Sequence[int]) -> tuple[list[Document], Vectors]:
        """Documents by id, with their full unit vectors, shape (documents, dimension).

        Args:
            places: in an order that stays while nothing is changed.
        """

    def add(self, documents: Sequence[Document], d_ND: Vectors) -> None:
        """Adds documents whose ids are not there, with their full unit vectors."""

    def replace(self, documents: Sequence[Document], d_ND: Vectors) -> None:
        """Adds documents, in place of those with the same ids."""

    def retag(self, documents: Sequence[Document]) -> None:
        """Gives documents that are there their new tags; text and vector stay."""

    def delete(self, ids: Sequence[str]) -> int:
        """Removes documents; returns how many were there."""

    def locked(self) -> AbstractContextManager[None]:
        """Lets one process change the table at a time."""

    def note(self) -> str:
        """What `keep_note` kept; empty where there is nothing, or the index was made again since."""

    def keep_note(self, text: str) -> None:
        """Keeps a text in ASCII with the index, in place of the one before."""

    def build(self) -> None:
        """Makes or renews what searches use besides the rows: an approximate index, the words, the merged files."""
