"""Freed memory that lies between what is still in use goes back to the system, and stays where passes are to come."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch

from embedloom.model import heap
from embedloom.model.backbone import best_dtype
from embedloom.model.heap import give_back_freed_memory, giving_back_freed_memory, keep_few_kernels, keep_freed_memory

MIB = 2**20
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
FREED = """
import resource, sys
from embedloom.model.heap import keep_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() // 2**20

if sys.argv[1] == "keep":
    keep_freed_memory()
blocks = [bytearray(2**20) for _ in range(60)]
before = resident()
del blocks
print(before - resident())
"""

PRODUCTS = """
import os, sys
import torch
from embedloom.model.heap import give_back_freed_memory, keep_few_kernels

def resident():
    give_back_freed_memory()
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

torch.set_num_threads(1)
if sys.argv[1] == "few":
    keep_few_kernels()
rows, weights = torch.ones(700, 64, dtype=torch.bfloat16), torch.ones(64, 64, dtype=torch.bfloat16)
rows @ weights
before = resident()
for count in range(100, 700):
    rows[:count] @ weights
print(resident() - before)
"""


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


@glibc
def test_what_lies_between_is_given_back() -> None:
    # Blocks too small to be mapped by themselves; every tenth stays, so that the heap can't end below it.
    blocks = [bytearray(100_000) for _ in range(1500)]
    kept = blocks[::10]
    del blocks
    before = resident()
    give_back_freed_memory()
    assert before - resident() > 80 * MIB
    assert sum(map(len, kept)) == 150 * 100_000


def test_pages_go_back_as_a_graph_grows_and_as_it_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[None] = []
    monkeypatch.setattr(heap, "STRIDE", MIB)
    monkeypatch.setattr(heap, "give_back_freed_memory", lambda: times.append(None))

    def gradient() -> torch.Tensor:
        end = start
        for _ in range(40):
            end = end.sin()
        grown = len(times)
        end.sum().backward()
        found, start.grad = start.grad, None
        assert found is not None
        counted.append((grown, len(times)))
        return found

    counted: list[tuple[int, int]] = []
    start = torch.linspace(-1, 1, MIB // 16, requires_grad=True)  # a quarter of a MiB
    plain = gradient()
    with giving_back_freed_memory():
        spared = gradient()
    assert torch.equal(plain, spared)
    assert counted == [(0, 0), (10, 20)]
    assert len(times) == 21


def test_a_graph_that_nobody_goes_back_through_is_freed() -> None:
    start = torch.linspace(1, 2, 8, requires_grad=True)
    with giving_back_freed_memory():
        end = start.rsqrt()  # saves its output
    alive = weakref.ref(end)
    del end
    assert alive() is None


def test_weights_do_not_count_as_what_a_graph_saves(monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[None] = []
    monkeypatch.setattr(heap, "STRIDE", MIB)
    monkeypatch.setattr(heap, "give_back_freed_memory", lambda: times.append(None))
    large = torch.nn.Linear(1024, 1024, bias=False).requires_grad_(False)  # 4 MiB
    with giving_back_freed_memory():
        large(torch.ones(1, 1024, requires_grad=True)).sum().backward()
        assert not times


def test_where_the_c_library_cannot_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "_function", lambda *_: None)
    give_back_freed_memory()
    keep_freed_memory()


@glibc
def test_what_was_freed_is_kept_for_the_next_pass() -> None:
    given_back = {}
    for how in ("keep", "as it is"):
        # In a process of its own, which keeps its memory from then on.
        done = subprocess.run([sys.executable, "-c", FREED, how], capture_output=True, text=True, check=True)
        given_back[how] = int(done.stdout)
    assert given_back["keep"] < 5 < 50 < given_back["as it is"]


@glibc
@pytest.mark.skipif(best_dtype(torch.device("cpu")) != torch.bfloat16, reason="needs products of oneDNN")
def test_kernels_of_shapes_that_are_long_past_are_forgotten() -> None:
    grown = {}
    for how in ("few", "as it is"):
        done = subprocess.run(
            [sys.executable, "-c", PRODUCTS, how], capture_output=True, text=True, check=True, env=_without_capacity()
        )
        grown[how] = float(done.stdout)
    assert grown["few"] < grown["as it is"] / 3


@pytest.mark.parametrize("name", ["ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_PRIMITIVE_CACHE_CAPACITY"])
def test_how_many_kernels_are_kept_is_the_users_to_say(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(os, "environ", _without_capacity() | {name: "7"})
    keep_few_kernels()
    assert {key: value for key, value in os.environ.items() if "CAPACITY" in key} == {
        name: "7",
        "LRU_CACHE_CAPACITY": str(heap.KERNELS),
    }


def _without_capacity() -> dict[str, str]:
    """The environment without what says how many kernels are kept: a model in this process may have said it."""
    return {name: value for name, value in os.environ.items() if not name.endswith("CACHE_CAPACITY")}
