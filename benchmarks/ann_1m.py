"""Kinds of index at 1,000,000 vectors, beside faiss: as `ann`, with the kinds that one takes for so many.

PostgreSQL is measured at 100,000 vectors alone.
"""

from ann import Plan, compared


def measure() -> dict[str, object]:
    """Exact search, compressed cells and graphs."""
    return compared(Plan(1_000_000, lancedb=("exact", "ivf-pq", "hnsw, int8"), postgres=()))
