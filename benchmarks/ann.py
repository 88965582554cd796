"""Kinds of index in both stores: recall@10 against exact search, queries a second, size and build time, beside faiss.

All of them hold the same vectors (`similar_vectors.py`: real ones multiplied, so that figures compare kinds with each
other and say less about one's own texts), are built in turn by one process, and may use the cores that the run is kept
to: `taskset -c 0` gives figures of one core. Each query is asked alone. `ivf-pq` has the same bytes, cells and probes
here and in faiss. PostgreSQL is a server with pgvector that is started for the run. COUNT sets another number of
vectors.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from similar_vectors import DIMENSION, K, Similar, similar_vectors

ROOT = Path(__file__).parents[1]
KINDS: dict[str, dict[str, str]] = {
    "exact": {},
    "exact, int8": {"precision": "int8"},
    "exact, binary": {"precision": "binary"},
    "ivf-pq": {"kind": "ivf-pq"},
    "hnsw": {"kind": "hnsw"},
    "hnsw, int8": {"kind": "hnsw", "precision": "int8"},
}
WARMING = 10
"""Queries that are asked before time is taken."""
POSTGRES_MEMORY = "-c shared_buffers=512MB -c maintenance_work_mem=512MB"
"""A graph of 100,000 vectors must fit: what pgvector has to build beyond the memory takes many times as long."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How many vectors, and which kinds of each store hold them."""

    count: int
    lancedb: tuple[str, ...] = tuple(KINDS)
    postgres: tuple[str, ...] = ("exact", "hnsw")
    faiss: tuple[str, ...] = ("flat", "ivf-pq, refined", "hnsw")


class Given:
    """An embedder of vectors that are there already."""

    name, fingerprint, dimension = "given", "given", DIMENSION

    def encode_queries(self, texts: Any, instruction: str, *, progress: Any = None) -> Any:
        """Not asked: searches are by vectors."""
        raise NotImplementedError

    encode_documents = encode_queries


def measure() -> dict[str, object]:
    """Every kind at 100,000 vectors."""
    return compared(Plan(100_000))


def compared(plan: Plan) -> dict[str, object]:
    """Figures by store and kind, all on the same vectors."""
    count = int(os.environ.get("COUNT") or plan.count)
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Read by LanceDB when it is first used.
    os.environ.update(LANCE_CPU_THREADS=str(threads), RAYON_NUM_THREADS=str(threads))
    with tempfile.TemporaryDirectory() as scratch:
        given = similar_vectors(Path(scratch) / "vectors.npy", count)
        figures: dict[str, object] = {
            "vectors": count, "dimension": DIMENSION, "queries": len(given.q_QD), "k": K, "threads": threads,
        }  # fmt: skip
        for name, found in _every(plan, Path(scratch), given, threads):
            figures[name] = found
            print(name, found, flush=True)
    figures["peak_mib"] = _peak_mib()
    return figures


def _every(plan: Plan, scratch: Path, given: Similar, threads: int) -> Iterator[tuple[str, Any]]:
    for name in plan.lancedb:
        place = scratch / "index"
        yield f"lancedb {name}", _ours(str(place), given, KINDS[name], lambda: _bytes_below(scratch / "index"))
        shutil.rmtree(place)
    if plan.postgres:
        with _postgres(threads) as address:
            if address is None:
                yield "postgresql", "left out: no PostgreSQL with pgvector here; pip install -e '.[dev]' has one"
            else:
                for name in plan.postgres:
                    found = _ours(f"{address}&index=ann", given, KINDS[name], lambda: _bytes_of_table(str(address)))
                    yield f"postgresql {name}", found
    for name in plan.faiss:
        yield f"faiss {name}", _theirs(name, scratch / "faiss.index", given, threads)


def _ours(place: str, given: Similar, options: dict[str, str], size: Callable[[], int]) -> dict[str, float]:
    from embedloom.records import Document
    from embedloom.search.index import create_index
    from embedloom.search.kinds import IndexKind

    documents = (Document(str(number), "") for number in range(len(given.d_ND)))
    started = time.perf_counter()
    index = create_index(
        place, documents, Given(), kind=IndexKind(**options), vectors=given.d_ND, batch_size=16_384, overwrite=True
    )
    built = time.perf_counter() - started

    def one(q_D: Any) -> list[int]:
        return [int(hit.document_id) for hit in index.search_vectors(q_D[None], K)[0]]

    return {"build_seconds": built, "bytes_per_vector": size() / len(given.d_ND), **_asked(one, given)}


def _theirs(name: str, file: Path, given: Similar, threads: int) -> dict[str, float]:
    import faiss

    faiss.omp_set_num_threads(threads)
    started = time.perf_counter()
    index = _faiss_index(faiss, name, len(given.d_ND))
    if not index.is_trained:
        index.train(given.d_ND)
    index.add(given.d_ND)
    built = time.perf_counter() - started
    faiss.write_index(index, str(file))
    size = file.stat().st_size
    file.unlink()
    told = _asked(lambda q_D: index.search(q_D[None], K)[1][0].tolist(), given)
    return {"build_seconds": built, "bytes_per_vector": size / len(given.d_ND), **told}


def _faiss_index(faiss: Any, name: str, count: int) -> Any:
    """As embedloom configures its own kinds: cells, bytes, probes, candidates; the graph's width."""
    if name == "flat":
        return faiss.IndexFlatIP(DIMENSION)
    if name == "hnsw":
        index = faiss.IndexHNSWFlat(DIMENSION, 16, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = 150, 150
        return index
    cells = int(count**0.5)
    quantizer = faiss.IndexFlatIP(DIMENSION)
    index = faiss.IndexIVFPQ(quantizer, DIMENSION, cells, DIMENSION // 4, 8, faiss.METRIC_INNER_PRODUCT)
    index.nprobe = max(8, cells // 10)
    index.own_fields = True
    quantizer.this.disown()
    refined = faiss.IndexRefineFlat(index)
    refined.k_factor = 10
    index.this.disown()
    refined.own_fields = True
    return refined


def _asked(one: Callable[[Any], list[int]], given: Similar) -> dict[str, float]:
    for q_D in given.q_QD[:WARMING]:
        one(q_D)
    started = time.perf_counter()
    found = [one(q_D) for q_D in given.q_QD]
    seconds = time.perf_counter() - started
    recall = np.mean([len({*a} & {*b}) / K for a, b in zip(found, given.nearest_QK.tolist(), strict=True)])
    return {"queries_per_second": len(found) / seconds, "recall_at_10": float(recall)}


@contextmanager
def _postgres(threads: int) -> Iterator[str | None]:
    """The address of a server, the one that the tests start; None where there is none."""
    sys.path.insert(0, str(ROOT / "tests"))
    if any(importlib.util.find_spec(name) is None for name in ("pytest", "psycopg", "pgvector")):
        yield None
        return
    from postgres import installation, server

    if installation() is None:
        yield None
        return
    workers = " ".join(
        f"-c {name}={threads - 1}" for name in ("max_parallel_maintenance_workers", "max_parallel_workers_per_gather")
    )
    with server(f"{POSTGRES_MEMORY} {workers}") as address:
        yield address


def _bytes_of_table(address: str) -> int:
    import psycopg

    with psycopg.connect(address) as connection:
        row = connection.execute("SELECT pg_total_relation_size('embedloom_ann')").fetchone()
    assert row is not None
    return int(row[0])


def _bytes_below(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _peak_mib() -> int:
    """Of this process, with what it has mapped of the vectors' file; PostgreSQL's memory is its server's own."""
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20)
