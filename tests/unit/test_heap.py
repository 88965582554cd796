"""Freed memory that lies between what is still in use goes back to the system."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from embedloom.train.heap import give_back_freed_memory

MIB = 2**20


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_what_lies_between_is_given_back() -> None:
    # Blocks too small to be mapped by themselves; every tenth stays, so that the heap can't end below it.
    blocks = [bytearray(100_000) for _ in range(1500)]
    kept = blocks[::10]
    del blocks
    before = resident()
    give_back_freed_memory()
    assert before - resident() > 80 * MIB
    assert sum(map(len, kept)) == 150 * 100_000


def test_where_the_c_library_cannot_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedloom.train.heap._trim", lambda: None)
    give_back_freed_memory()
