"""The process' heap between passes: what glibc keeps of freed memory is given back to the system.

The tensors of a pass are freed in another order than they were made, and the next pass, of another shape, finds its
room in pieces: beside what is alive the heap grew by as much again over a step of some passes.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any


def give_back_freed_memory() -> None:
    """Returns freed pages to the system where the C library can (glibc); elsewhere nothing happens."""
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Any:
    try:
        found: Any = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    found.argtypes, found.restype = [ctypes.c_size_t], ctypes.c_int
    return found
