"""How fast a model encodes: what it was handed and how long it took, cached texts left out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedloom.records import Embedder, Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from embedloom.records import Vectors


@dataclass(frozen=True, slots=True)
class Speed:
    """What a model encoded: texts, their characters, seconds of the clock, in so many processes on a machine."""

    model: str
    fingerprint: str
    texts: int
    characters: int
    seconds: float
    processes: int = 1
    machine: str = ""

    @property
    def texts_per_second(self) -> float:
        """Texts a second."""
        return self.texts / self.seconds if self.seconds > 0 else 0.0

    @property
    def characters_per_second(self) -> float:
        """Characters a second: what can be compared where texts differ in length."""
        return self.characters / self.seconds if self.seconds > 0 else 0.0


class TimedEmbedder:
    """An `Embedder` that counts what another one encodes, and the time that it takes."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self.name, self.fingerprint, self.dimension = embedder.name, embedder.fingerprint, embedder.dimension
        self.texts = self.characters = 0
        self.seconds = 0.0

    def encode_queries(self, texts: Sequence[str], instruction: str, *, progress: Progress | None = None) -> Vectors:
        """As the model's."""
        return self._timed(texts, lambda: self.embedder.encode_queries(texts, instruction, progress=progress))

    def encode_documents(self, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
        """As the model's."""
        return self._timed(texts, lambda: self.embedder.encode_documents(texts, progress=progress))

    def _timed(self, texts: Sequence[str], encode: Callable[[], Vectors]) -> Vectors:
        started = time.monotonic()
        vectors = encode()
        self.seconds += time.monotonic() - started
        self.texts += len(texts)
        self.characters += sum(map(len, texts))
        return vectors


def summed(speeds: Iterable[Speed]) -> dict[str, Speed]:
    """{model: all that it encoded}; of several numbers of processes or machines the last counts."""
    found: dict[str, Speed] = {}
    for one in speeds:
        before = found.get(one.model)
        if before is None or (before.fingerprint, before.processes, before.machine) != (
            one.fingerprint,
            one.processes,
            one.machine,
        ):
            found[one.model] = one
        else:
            found[one.model] = Speed(
                one.model,
                one.fingerprint,
                before.texts + one.texts,
                before.characters + one.characters,
                before.seconds + one.seconds,
                one.processes,
                one.machine,
            )
    return found
