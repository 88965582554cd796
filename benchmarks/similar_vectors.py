"""Any number of unit vectors, as near to each other as those of real texts, with queries and their true neighbours.

Sentences of STSBenchmark in an order drawn once are encoded by all-MiniLM-L6-v2 and projected at random to 128
dimensions. A vector is one of them plus half of another plus noise of a third of its length, renormalised. Queries are
made in the same way from sentences that no vector is made from; they are of the same language and kind, since the cells
of an index are drawn by the vectors and hold for queries like them alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from recipe_run import DATA

DIMENSION = 128
SENTENCES, OTHERS = 4000, 400
QUERIES = 200
K = 10
BLOCK = 50_000
"""Vectors that are made, or compared with the queries, at a time."""
STS = DATA / "sts" / "stsbenchmark"


@dataclass(frozen=True, slots=True)
class Similar:
    """Vectors (documents, dimension), in a file; queries (queries, dimension); the rows of their K nearest."""

    d_ND: Any
    q_QD: Any
    nearest_QK: Any


def similar_vectors(file: Path, count: int) -> Similar:
    """Makes them; the vectors are written to `file` and stay there, mapped."""
    from embedloom.cli.opening import open_embedder

    real = open_embedder("registry:minilm").encode_documents(sentences(SENTENCES + OTHERS))
    draws = np.random.default_rng(0)
    real = real @ draws.normal(size=(real.shape[1], DIMENSION)).astype(np.float32)
    real /= np.linalg.norm(real, axis=1, keepdims=True)
    d_ND = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(count, DIMENSION))
    for start in range(0, count, BLOCK):
        d_ND[start : start + BLOCK] = _mixed(real[:SENTENCES], min(BLOCK, count - start), draws)
    d_ND.flush()
    q_QD = _mixed(real[SENTENCES:], QUERIES, draws)
    return Similar(np.load(file, mmap_mode="r"), q_QD, _nearest(d_ND, q_QD))


def sentences(count: int) -> list[str]:
    """That many distinct English sentences, the same ones every time."""
    every = sorted(set(_told()))
    random.Random(0).shuffle(every)
    assert len(every) >= count, f"{len(every)} sentences in {STS}; expected {count}"
    return every[:count]


def _told() -> Iterator[str]:
    from embedloom.run import read_objects

    for path in sorted(STS.glob("*.jsonl*")):
        for _, row in read_objects(path):
            for key in ("sentence1", "sentence2"):
                if isinstance(text := row.get(key), str):
                    yield text


def _mixed(real_RD: Any, count: int, draws: np.random.Generator) -> Any:
    one, other = (real_RD[draws.integers(0, len(real_RD), count)] for _ in range(2))
    noise = draws.normal(size=one.shape).astype(np.float32) * (1 / 3 / DIMENSION**0.5)
    mixed = one + 0.5 * other + noise
    return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)


def _nearest(d_ND: Any, q_QD: Any) -> Any:
    """Rows of the K vectors of the largest product with each query, block by block; in no order."""
    rows_QM = np.empty((len(q_QD), 0), dtype=np.int64)
    scores_QM = np.empty((len(q_QD), 0), dtype=np.float32)
    for start in range(0, len(d_ND), BLOCK):
        block_QN = q_QD @ d_ND[start : start + BLOCK].T
        numbers_QN = np.broadcast_to(np.arange(start, start + block_QN.shape[1]), block_QN.shape)
        rows_QM, scores_QM = np.hstack([rows_QM, numbers_QN]), np.hstack([scores_QM, block_QN])
        best_QK = np.argpartition(-scores_QM, K - 1, axis=1)[:, :K]
        rows_QM, scores_QM = (np.take_along_axis(some, best_QK, axis=1) for some in (rows_QM, scores_QM))
    return rows_QM
