"""Measurement in the middle of a training: the model as it is, as an `Embedder`, and what came of it.

Several processes share the texts as they share a batch, and each has all vectors afterwards; the score is the first
one's, so that all agree on which weights are the best.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from embedloom.model.inputs import token_ids
from embedloom.model.passes import plan_passes, row_vectors
from embedloom.train.engine import Engine

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from embedloom.model.inputs import InputContract
    from embedloom.records import Embedder, Progress, Vectors
    from embedloom.train.state import Best

DEVELOPMENT_FILE = "development.jsonl"
ROWS = 256
"""Rows of one forward pass in each process."""


@dataclass(frozen=True, slots=True)
class Development:
    """What a training is measured on as it goes.

    Attributes:
        measure: from a model to the main figure of each set, by its name; higher is better.
        every: steps from one measurement to the next; behind the last step there is one too.
        identity: of the sets: a training measured on others is another one.
    """

    measure: Callable[[Embedder], Mapping[str, float]]
    every: int
    identity: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """The figures behind `step` steps. `score` is the mean of the `sets`."""

    step: int
    score: float
    sets: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0


class ModelInTraining:
    """The model of an engine as an `Embedder`. Every process asks it for the same texts at the same time."""

    name = "in training"
    fingerprint = ""

    def __init__(
        self,
        engine: Engine,
        tokenizer: PreTrainedTokenizerBase,
        contract: InputContract,
        *,
        dimension: int,
        token_budget: int,
    ) -> None:
        self.dimension = dimension
        self._engine, self._tokenizer, self._contract = engine, tokenizer, contract
        self._token_budget = token_budget

    def encode_queries(self, texts: Sequence[str], instruction: str, *, progress: Progress | None = None) -> Vectors:
        """Unit vectors of queries under an instruction, shape (len(texts), dimension), float32."""
        return self._encode([self._contract.query_text(text, instruction) for text in texts], progress)

    def encode_documents(self, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
        """Unit vectors of documents, shape (len(texts), dimension), float32."""
        return self._encode([self._contract.document_text(text) for text in texts], progress)

    def _encode(self, texts: Sequence[str], progress: Progress | None) -> Vectors:
        engine, share = self._engine, self._engine.shares_beginnings
        rows = token_ids(texts, self._tokenizer, self._contract)
        vectors_ND = np.empty((len(rows), self.dimension), dtype=np.float32)
        pad = self._tokenizer.pad_token_id or 0
        budget, most = self._token_budget * engine.count, ROWS * engine.count
        with torch.no_grad():
            for group in plan_passes(rows, token_budget=budget, max_rows=most, share=share):
                shares = [group[rank :: engine.count] for rank in range(engine.count)]
                own = shares[engine.rank]
                # As in training: a process without a row computes one for nothing, where the others need its part.
                some = [rows[row] for row in own or group[:1]]
                own_ND = row_vectors(
                    engine.model, some, pooling=self._contract.pooling, pad=pad, device=engine.device, share=share
                )[: len(own)]
                found_ND = engine.gather(own_ND, [len(part) for part in shares])
                vectors_ND[[row for part in shares for row in part]] = found_ND.cpu().numpy()
                if progress is not None:
                    progress(len(group))
        return vectors_ND


def measurement(engine: Engine, model: ModelInTraining, development: Development, step: int) -> Measurement:
    """Measures the model behind `step` steps, without dropout; every process calls it and gets the same."""
    started = time.perf_counter()
    engine.model.eval()
    figures = development.measure(model)
    engine.model.train()
    score = engine.agreed(sum(figures.values()) / len(figures))
    return Measurement(step, score, dict(figures), time.perf_counter() - started)


def better(found: Measurement, best: Best | None) -> bool:
    """Whether a measurement is better than the best so far, if there is one."""
    return not math.isnan(found.score) and (best is None or found.score > best.score)
