"""The process' heap between passes: what glibc does with freed memory.

By itself it gives the end of the heap back whenever enough of it is free, and the next pass pays for the same pages
again: new ones are zeroed by the system. What lies between things that are alive it keeps, however much.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
"""Names of mallopt's settings (malloc.h)."""
LARGEST = 32 << 20
"""Bytes of a tensor that comes from the heap; glibc takes no higher value."""
STRIDE = 128 << 20
"""Bytes that operations save for the way back, or take up again, between which freed pages are given back."""
KERNELS = 128
"""Products of oneDNN that stay in memory: a pass of one shape has some forty, there and back."""
CAPACITIES = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "DNNL_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY": ""}
"""Variables that oneDNN and torch read, and the name by which they read them too."""


def keep_freed_memory() -> None:
    """Lets the process keep what is freed, for the passes to come: up to a sixth of encoding was for new pages.

    The process stays as large as its largest pass was. Where the C library is another than glibc nothing happens.
    """
    option = _function("mallopt", ctypes.c_int, ctypes.c_int)
    if option is not None:
        for name, value in ((TRIM_THRESHOLD, 2**31 - 1), (MMAP_THRESHOLD, LARGEST), (TOP_PAD, 2 * LARGEST)):
            option(name, value)


def keep_few_kernels() -> None:
    """Lets oneDNN, and torch beside it, forget the code of products whose shape is long past: both keep 1,024, and
    half a MiB for each.

    Making one again takes a quarter of a millisecond. What the user set stays, and so does what was read already: it is
    asked for once, at the first product of a process.
    """
    for name, older in CAPACITIES.items():
        if older not in os.environ:
            os.environ.setdefault(name, str(KERNELS))


def give_back_freed_memory() -> None:
    """Returns freed pages to the system where the C library can (glibc); elsewhere nothing happens.

    The tensors of a pass are freed in another order than they were made, and the next pass, of another shape, finds its
    room in pieces: beside what is alive the heap grew by as much again over a step of some passes.
    """
    trim = _function("malloc_trim", ctypes.c_size_t)
    if trim is not None:
        trim(0)


@contextmanager
def giving_back_freed_memory() -> Iterator[None]:
    """Gives freed pages back all along, as the graphs that are made in here grow, and as they are used up.

    What layers free finds no use at once where the heap has holes of other sizes: a pass had a fifth of its graph in
    such pages, after others had gone before it.
    """
    import torch

    passed = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal passed
        passed += 0 if is_weight(tensor) else tensor.nbytes
        if passed >= STRIDE:
            passed = 0
            give_back_freed_memory()
        return tensor

    def is_weight(tensor: Tensor) -> bool:
        whole = tensor if tensor._base is None else tensor._base
        return isinstance(whole, torch.nn.Parameter)

    def save(tensor: Tensor) -> Tensor:
        # Detached: an operation that saved its own output as it is would keep itself alive.
        return tensor if is_weight(tensor) else count(tensor).detach()

    with torch.autograd.graph.saved_tensors_hooks(save, count):
        yield
    give_back_freed_memory()


@cache
def _function(name: str, *arguments: Any) -> Any:
    """A function of the C library that returns an int, or None where it has none of that name."""
    try:
        found: Any = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
    found.argtypes, found.restype = list(arguments), ctypes.c_int
    return found
