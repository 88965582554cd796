"""Bitext mining: which sentences of two languages translate each other, from nothing but their vectors.

    python examples/bitext_mining.py MODEL german.txt english.txt

A pair's score is its margin: its cosine over the mean cosine of both sentences to their nearest neighbours, so that a
sentence that is near to everything pairs with nothing (Artetxe and Schwenk 2019, arXiv 1811.01136).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from embedloom.cli.opening import open_embedder
from embedloom.records import Embedder

INSTRUCTION = "Retrieve parallel sentences"
NEIGHBOURS = 4


def mined(
    embedder: Embedder, first: Sequence[str], second: Sequence[str], *, margin: float = 1.05
) -> Iterator[tuple[float, str, str]]:
    """Pairs that are each other's best by margin, best first: margin, sentence, sentence."""
    a_ND = embedder.encode_queries(first, INSTRUCTION)
    b_MD = embedder.encode_queries(second, INSTRUCTION)
    cosine_NM = a_ND @ b_MD.T
    count = min(NEIGHBOURS, len(first), len(second))
    near_N = np.sort(cosine_NM, axis=1)[:, -count:].mean(axis=1)
    near_M = np.sort(cosine_NM, axis=0)[-count:].mean(axis=0)
    margin_NM = cosine_NM / ((near_N[:, None] + near_M[None]) / 2)
    best_N, best_M = margin_NM.argmax(axis=1), margin_NM.argmax(axis=0)
    pairs = [(float(margin_NM[n, m]), n, int(m)) for n, m in enumerate(best_N) if best_M[m] == n]
    for score, n, m in sorted(pairs, reverse=True):
        if score >= margin:
            yield score, first[n], second[m]


if __name__ == "__main__":
    lines = [Path(name).read_text(encoding="utf-8").splitlines() for name in sys.argv[2:4]]
    for score, one, other in mined(open_embedder(sys.argv[1], notice=print), *lines):
        print(f"{score:.3f}\t{one}\t{other}")
