"""Near duplicates: groups of texts that say the same, in other words too, by the cosine of their vectors.

    python examples/near_duplicates.py MODEL texts.txt 0.9

For copies with few changes, `embedloom.data.near_duplicates` needs no model and no vectors.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from embedloom.cli.opening import open_embedder
from embedloom.records import Embedder

AT_ONCE = 1024
"""Texts compared with all others together: 1,024 by 100,000 cosines are 400 MB."""


def duplicates(embedder: Embedder, texts: Sequence[str], *, threshold: float) -> list[list[int]]:
    """Numbers of texts that a chain of pairs above the threshold connects, two or more a group."""
    d_ND = embedder.encode_documents(texts)
    leader = list(range(len(texts)))

    def led(number: int) -> int:
        while leader[number] != number:
            leader[number] = leader[leader[number]]
            number = leader[number]
        return number

    for start in range(0, len(texts), AT_ONCE):
        cosine_MN = d_ND[start : start + AT_ONCE] @ d_ND.T
        for row, other in zip(*(cosine_MN >= threshold).nonzero(), strict=True):
            if other > start + row:
                leader[led(int(other))] = led(start + int(row))
    groups: dict[int, list[int]] = {}
    for number in range(len(texts)):
        groups.setdefault(led(number), []).append(number)
    return [group for group in groups.values() if len(group) > 1]


if __name__ == "__main__":
    lines = Path(sys.argv[2]).read_text(encoding="utf-8").splitlines()
    for group in duplicates(open_embedder(sys.argv[1], notice=print), lines, threshold=float(sys.argv[3])):
        print("\n".join(lines[number] for number in group), end="\n\n")
