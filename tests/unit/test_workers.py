"""Processes that share work: what is told when one of them is killed."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from embedloom.workers import Processes, memory


class KilledAtStart(Processes):
    """Whose first process is killed just before the second is started, once the pool has seen it."""

    def _spawn_process(self) -> None:
        for process in list(self._processes.values()):
            process.kill()
            give_up = time.monotonic() + 30
            while not self._call_queue._reader.closed and time.monotonic() < give_up:  # type: ignore[attr-defined]
                time.sleep(0.01)
        super()._spawn_process()  # type: ignore[misc]


def test_the_calls_are_answered_in_other_processes() -> None:
    with Processes(2) as pool:
        assert os.getpid() not in {pool.submit(os.getpid).result() for _ in range(3)}


@pytest.mark.parametrize("pool_of", [Processes, KilledAtStart])
def test_a_killed_process_is_told_as_a_broken_pool(pool_of: type[Processes]) -> None:
    with pool_of(2) as pool, pytest.raises(BrokenProcessPool):
        lose_one(pool)


def lose_one(pool: Processes) -> None:
    for _ in range(2):
        pool.submit(time.sleep, 60)
    os.kill(next(iter(pool._processes)), signal.SIGKILL)
    pool.submit(time.sleep, 60).result(timeout=30)


def test_other_errors_of_the_system_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("concurrent.futures.ProcessPoolExecutor.submit", full)
    with Processes(1) as pool, pytest.raises(OSError, match="No space left"):
        pool.submit(os.getpid)


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("", {}, None),
        ("0::/", {"memory.max": "1048576\n"}, 1048576),
        ("0::/", {"memory.max": "max\n"}, None),
        ("0::/box/run\n", {"memory.max": "9000000", "box/memory.max": "2097152", "box/run/memory.max": "max"}, 2097152),
        ("3:cpu:/a\n2:memory:/a\n", {"memory/a/memory.limit_in_bytes": "4096", "cpu/a/memory.max": "1"}, 4096),
        ("2:memory:/a\n", {"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
    ],
)
def test_memory_is_what_a_container_may_use(
    tmp_path: Path, groups: str, files: dict[str, str], expected: int | None
) -> None:
    (tmp_path / "cgroup").write_text(groups, encoding="utf-8")
    for name, said in files.items():
        path = tmp_path / "limits" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(said, encoding="ascii")
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert memory(tmp_path / "cgroup", tmp_path / "limits") == (expected or physical)
    assert memory(tmp_path / "none", tmp_path / "limits") == physical
