"""The process' heap between passes: what glibc does with freed memory.

By itself it gives the end of the heap back whenever enough of it is free, and the next pass pays for the same pages
again: new ones are zeroed by the system. What lies between things that are alive it keeps, however much.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
"""Names of mallopt's settings (malloc.h)."""
LARGEST = 32 << 20
"""Bytes of a tensor that comes from the heap; glibc takes no higher value."""


def keep_freed_memory() -> None:
    """Lets the process keep what is freed, for the passes to come: up to a sixth of encoding was for new pages.

    The process stays as large as its largest pass was. Where the C library is another than glibc nothing happens.
    """
    option = _function("mallopt", ctypes.c_int, ctypes.c_int)
    if option is not None:
        for name, value in ((TRIM_THRESHOLD, 2**31 - 1), (MMAP_THRESHOLD, LARGEST), (TOP_PAD, 2 * LARGEST)):
            option(name, value)


def give_back_freed_memory() -> None:
    """Returns freed pages to the system where the C library can (glibc); elsewhere nothing happens.

    The tensors of a pass are freed in another order than they were made, and the next pass, of another shape, finds its
    room in pieces: beside what is alive the heap grew by as much again over a step of some passes.
    """
    trim = _function("malloc_trim", ctypes.c_size_t)
    if trim is not None:
        trim(0)


@cache
def _function(name: str, *arguments: Any) -> Any:
    """A function of the C library that returns an int, or None where it has none of that name."""
    try:
        found: Any = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
    found.argtypes, found.restype = list(arguments), ctypes.c_int
    return found
