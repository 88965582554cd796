"""Kinds of index: recall@10 against exact search, queries a second, size and build time, beside faiss on one core.

The vectors are real ones multiplied: short texts encoded by all-MiniLM-L6-v2, projected at random to 128 dimensions;
each vector of the index is a real one plus half of another plus noise of a third of its length, renormalised. Queries
are made in the same way from texts that the index's vectors are not made from. So neighbours are as near as those of
real texts on average, but not the same: figures compare kinds with each other and with faiss, on equal vectors, and
say less about one's own texts. Each query is asked alone. COUNT sets the number of vectors (100,000).
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

COUNT = int(os.environ.get("COUNT", "100000"))
DIMENSION = 128
TEXTS, OTHERS = 2000, 200
QUERIES = 200
K = 10
DATA = Path("../shared/data/sts")


class Given:
    """An embedder of vectors that are there already."""

    name, fingerprint, dimension = "given", "given", DIMENSION

    def encode_queries(self, texts: Any, instruction: str, *, progress: Any = None) -> Any:
        """Not asked: searches are by vectors."""
        raise NotImplementedError

    encode_documents = encode_queries


def measure() -> dict[str, object]:
    """Figures by kind, ours and those of faiss."""
    import faiss

    faiss.omp_set_num_threads(1)
    d_ND, q_QD = _vectors()
    truth = _exact(d_ND, q_QD)
    figures: dict[str, object] = {"vectors": len(d_ND), "dimension": DIMENSION, "queries": len(q_QD), "k": K}
    with tempfile.TemporaryDirectory() as scratch:
        for name, options in _kinds().items():
            figures[f"lancedb {name}"] = _ours(Path(scratch) / "index", d_ND, q_QD, truth, options)
            print(name, figures[f"lancedb {name}"], flush=True)
    for name, make in _faiss_kinds(faiss, len(d_ND)).items():
        figures[f"faiss {name}"] = _theirs(faiss, make, d_ND, q_QD, truth)
        print(name, figures[f"faiss {name}"], flush=True)
    return figures


def _kinds() -> dict[str, dict[str, Any]]:
    return {
        "exact": {},
        "exact, int8": {"precision": "int8"},
        "exact, binary": {"precision": "binary"},
        "ivf-pq": {"kind": "ivf-pq"},
        "hnsw": {"kind": "hnsw"},
        "hnsw, int8": {"kind": "hnsw", "precision": "int8"},
    }


def _ours(place: Path, d_ND: Any, q_QD: Any, truth: Any, options: dict[str, Any]) -> dict[str, float]:
    from embedloom.records import Document
    from embedloom.search.index import create_index
    from embedloom.search.kinds import IndexKind

    documents: Iterator[Document] = (Document(str(number), "") for number in range(len(d_ND)))
    started = time.perf_counter()
    index = create_index(place, documents, Given(), kind=IndexKind(**options), vectors=d_ND, batch_size=16_384)
    built = time.perf_counter() - started
    size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())

    def one(q_D: Any) -> list[int]:
        return [int(hit.document_id) for hit in index.search_vectors(q_D[None], K)[0]]

    told = _asked(one, q_QD, truth)
    shutil.rmtree(place)
    return {"build_seconds": built, "bytes_per_vector": size / len(d_ND), **told}


def _faiss_kinds(faiss: Any, count: int) -> dict[str, Callable[[], Any]]:
    cells = int(count**0.5)

    def ivf_pq() -> Any:
        quantizer = faiss.IndexFlatIP(DIMENSION)
        index = faiss.IndexIVFPQ(quantizer, DIMENSION, cells, DIMENSION // 8, 8, faiss.METRIC_INNER_PRODUCT)
        index.nprobe = max(8, cells // 10)
        index.own_fields = True
        quantizer.this.disown()
        refined = faiss.IndexRefineFlat(index)
        refined.k_factor = 10
        index.this.disown()
        refined.own_fields = True
        return refined

    def hnsw() -> Any:
        index = faiss.IndexHNSWFlat(DIMENSION, 16, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = 150, 150
        return index

    return {"flat": lambda: faiss.IndexFlatIP(DIMENSION), "ivf-pq, refined": ivf_pq, "hnsw": hnsw}


def _theirs(faiss: Any, make: Callable[[], Any], d_ND: Any, q_QD: Any, truth: Any) -> dict[str, float]:
    started = time.perf_counter()
    index = make()
    if not index.is_trained:
        index.train(d_ND)
    index.add(d_ND)
    built = time.perf_counter() - started
    size = len(faiss.serialize_index(index))
    told = _asked(lambda q_D: index.search(q_D[None], K)[1][0].tolist(), q_QD, truth)
    return {"build_seconds": built, "bytes_per_vector": size / len(d_ND), **told}


def _asked(one: Callable[[Any], list[int]], q_QD: Any, truth: Any) -> dict[str, float]:
    for q_D in q_QD[:10]:
        one(q_D)
    started = time.perf_counter()
    found = [one(q_D) for q_D in q_QD]
    seconds = time.perf_counter() - started
    recall = np.mean([len(set(a) & set(b)) / K for a, b in zip(found, truth.tolist(), strict=True)])
    return {"queries_per_second": len(q_QD) / seconds, "recall_at_10": float(recall)}


def _exact(d_ND: Any, q_QD: Any) -> Any:
    scores_QN = np.concatenate([q_QD @ block_ND.T for block_ND in np.array_split(d_ND, 20)], axis=1)
    return np.argsort(-scores_QN, axis=1, kind="stable")[:, :K]


def _vectors() -> tuple[Any, Any]:
    from embedloom.cli.opening import open_embedder

    real = open_embedder("registry:minilm").encode_documents(list(islice(_texts(), TEXTS + OTHERS)))
    random = np.random.default_rng(0)
    real = real @ random.normal(size=(real.shape[1], DIMENSION)).astype(np.float32)
    real /= np.linalg.norm(real, axis=1, keepdims=True)

    def made(some: Any, count: int) -> Any:
        out = np.empty((count, DIMENSION), dtype=np.float32)
        for start in range(0, count, 50_000):
            size = min(50_000, count - start)
            one, other = (some[random.integers(0, len(some), size)] for _ in range(2))
            noise = random.normal(size=(size, DIMENSION)).astype(np.float32) * (1 / 3 / DIMENSION**0.5)
            mixed = one + 0.5 * other + noise
            out[start : start + size] = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
        return out

    return made(real[:TEXTS], COUNT), made(real[TEXTS:], QUERIES)


def _texts() -> Iterator[str]:
    """Distinct sentences of similarity sets."""
    from embedloom.run import read_objects

    seen: set[str] = set()
    for path in sorted(DATA.rglob("*.jsonl*")):
        for _, row in read_objects(path):
            for key in ("sentence1", "sentence2"):
                text = row.get(key)
                if isinstance(text, str) and text not in seen:
                    seen.add(text)
                    yield text
