"""Draws that depend on (seed, what is drawn for) alone.

There is no generator with a state: each draw hashes its own address, so that drawing one blank more, or asking for more
examples, changes no other draw, on any machine and in any order.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

T = TypeVar("T")


def uniform(seed: int, *address: str | int) -> float:
    """A number in [0, 1) that is a function of the seed and the address."""
    text = "\x1f".join(map(str, (seed, *address)))
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") / 2**64


def choose(values: Sequence[T], seed: int, *address: str | int) -> T:
    """One of the values, each as likely as the other."""
    return values[int(uniform(seed, *address) * len(values))]


class Weighted(Sequence[T]):
    """Values with weights, for many weighted choices. Weights are positive and need not sum to 1."""

    def __init__(self, weights: Mapping[T, float]) -> None:
        self._values = tuple(value for value, weight in weights.items() if weight > 0)
        self._sums = list(accumulate(weight for weight in weights.values() if weight > 0))
        assert self._values, "no value with a weight above 0"

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._values[index]

    def choose(self, seed: int, *address: str | int) -> T:
        """One of the values, as likely as its weight."""
        at = bisect_right(self._sums, uniform(seed, *address) * self._sums[-1])
        return self._values[min(at, len(self._values) - 1)]


def shuffled(keys: Sequence[str], seed: int, *address: str | int) -> list[int]:
    """The indices of `keys` in an order that is a function of seed, address and each key."""
    return sorted(range(len(keys)), key=lambda index: (uniform(seed, *address, keys[index]), index))
