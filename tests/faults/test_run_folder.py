"""The run folder under faults: kills, torn lines, full disks, two processes, files that changed under the manifest."""

from __future__ import annotations

import gzip
import json
import os
import random
from pathlib import Path

import pytest

from embedloom.errors import DataError, RunError
from embedloom.records import Reject
from embedloom.run import RecordLog, RunFolder, atomic_file, atomic_folder, read_objects, read_records, write_records
from killing import kill, kill_after, start

APPEND = """
import sys
from pathlib import Path
from embedloom.records import Reject
from embedloom.run import RecordLog
with RecordLog(Path(sys.argv[1])) as log:
    print("ready", flush=True)
    for number in range(1_000_000):
        log.append(Reject(f"{sys.argv[2]}-{number}-{i}", "stage", "rule", "é" * 3000) for i in range(7))
        print(number, flush=True)
"""

WRITE = """
import sys
from pathlib import Path
from embedloom.records import Reject
from embedloom.run import write_records
print("ready", flush=True)
for number in range(1_000_000):
    write_records(Path(sys.argv[1]), [Reject(str(number), "stage", "rule", "x" * 5000)] * 40)
"""

FOLDER = """
import sys
from pathlib import Path
from embedloom.run import atomic_folder
print("ready", flush=True)
for number in range(1_000_000):
    with atomic_folder(Path(sys.argv[1])) as folder:
        for part in "abcdefgh":
            (folder / part).write_text(str(number) * 1000)
"""

HOLD = """
import sys, time
from pathlib import Path
from embedloom.run import RunFolder
with RunFolder(Path(sys.argv[1])).locked():
    print("ready", flush=True)
    time.sleep(600)
"""

FULL_LOG = """
import resource, signal, sys
from pathlib import Path
from embedloom.records import Reject
from embedloom.run import RecordLog
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
log = RecordLog(Path(sys.argv[1]))
print("ready", flush=True)
for number in range(1000):
    try:
        log.append([Reject(str(number), "stage", "rule", "x" * 700)] * 3)
    except OSError as error:
        print("full", error.errno, flush=True)
        break
    print(number, flush=True)
log.append([Reject("small", "stage", "rule")])
"""

FULL_FILE = """
import resource, signal, sys
from pathlib import Path
from embedloom.records import Reject
from embedloom.run import write_records
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
print("ready", flush=True)
try:
    write_records(Path(sys.argv[1]), [Reject("new", "stage", "rule", "x" * 700)] * 300)
except OSError as error:
    print("full", error.errno, flush=True)
"""


def test_a_killed_append_loses_no_finished_group_and_leaves_no_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    promised: list[str] = []
    for attempt in range(6):
        printed = kill_after(APPEND, path, attempt, seconds=random.Random(attempt).uniform(0.01, 0.3))
        promised += [f"{attempt}-{number}-{i}" for number in printed for i in range(7)]
        RecordLog(path).close()
        found = [record.id for record in read_records(path, Reject)]
        assert len(found) == len(set(found))
        assert set(promised) <= set(found)
    assert promised


@pytest.mark.parametrize("cut", [1, 2, 30, 5000, 6020])
def test_a_torn_last_line_is_cut_and_the_rest_kept(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "log.jsonl"
    with RecordLog(path) as log:
        log.append([Reject("whole", "stage", "rule", "é" * 3000), Reject("torn", "stage", "rule", "é" * 3000)])
    os.truncate(path, path.stat().st_size - cut)
    with RecordLog(path) as log:
        assert [record.id for record in read_records(path, Reject)] == ["whole"]
        log.append([Reject("next", "stage", "rule")])
    assert [record.id for record in read_records(path, Reject)] == ["whole", "next"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"id": "no line end, ever"' * 2000])
def test_a_log_without_a_whole_line_becomes_empty(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(content)
    RecordLog(path).close()
    assert path.read_bytes() == b""


def test_a_disk_that_fills_up_costs_the_last_group_only_and_leaves_the_log_usable(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    process = start(FULL_LOG, path)
    printed = process.communicate()[0].splitlines()
    assert process.returncode == 0
    assert printed[-1].startswith("full")
    expected = [number for number in printed[:-1] for _ in range(3)]
    assert len(expected) > 3
    assert [record.id for record in read_records(path, Reject)] == [*expected, "small"]


def test_a_disk_that_fills_up_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    write_records(path, [Reject("old", "stage", "rule")])
    process = start(FULL_FILE, path)
    assert process.communicate()[0].startswith("full")
    assert [record.id for record in read_records(path, Reject)] == ["old"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_write_leaves_a_whole_file_and_the_next_one_clears_the_litter(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    for attempt in range(6):
        kill_after(WRITE, path, seconds=random.Random(attempt).uniform(0.02, 0.2))
        found = [record.id for record in read_records(path, Reject)] if path.exists() else ["none"] * 40
        assert len(found) == 40
        assert len(set(found)) == 1
    # The litter of a process that lives stays: it is still writing.
    living = tmp_path / f".file.jsonl.{os.getppid()}.partial"
    living.write_text("mine", encoding="utf-8")
    write_records(path, [Reject("last", "stage", "rule")])
    assert sorted(tmp_path.iterdir()) == [living, path]


def test_a_killed_folder_is_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for attempt in range(6):
        kill_after(FOLDER, path, seconds=random.Random(attempt).uniform(0.02, 0.2))
        if path.exists():
            assert len({(path / part).read_text(encoding="utf-8") for part in "abcdefgh"}) == 1
    with atomic_folder(path) as folder:
        (folder / "last").write_text("last", encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
    assert [p.name for p in path.iterdir()] == ["last"]


@pytest.mark.parametrize("make", [atomic_file, atomic_folder])
def test_a_failure_leaves_what_was_there(tmp_path: Path, make: object) -> None:
    path = tmp_path / "it"
    for before in (None, "old"):
        if before is not None:
            path.write_text(before, encoding="utf-8")
        with pytest.raises(KeyError), make(path):  # type: ignore[operator]
            raise KeyError
        assert [p.read_text(encoding="utf-8") for p in tmp_path.iterdir()] == ([] if before is None else [before])


def test_one_process_holds_a_run_and_a_kill_frees_it(tmp_path: Path) -> None:
    holder = start(HOLD, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    with pytest.raises(RunError, match="in use by another process"), run.locked():
        pass
    kill(holder)
    with run.locked():
        pass


def test_a_stage_runs_again_when_its_key_or_one_of_its_files_changed(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    calls = 0

    def work() -> dict[str, object]:
        nonlocal calls
        calls += 1
        (run / "out.jsonl").write_text("one\n", encoding="utf-8")
        (run / "model").mkdir(exist_ok=True)
        (run / "model" / "weights").write_bytes(b"1234")
        return {"counts": {"rows": 1}}

    def stage(key: str = "k") -> bool:
        return run.stage("make", key, ["out.jsonl", "model"], work)

    assert stage()
    assert not stage()
    assert run.manifest()["make"]["counts"] == {"rows": 1}
    (run / "out.jsonl").write_text("two\n", encoding="utf-8")
    assert stage()
    (run / "model" / "weights").write_bytes(b"1235")
    assert stage()
    (run / "model" / "weights").unlink()
    assert stage()
    (run / "model" / "more").write_bytes(b"")
    assert stage()
    (run / "out.jsonl").unlink()
    assert stage()
    assert not stage()
    assert stage("another key")
    assert calls == 7


def test_a_stage_that_fails_is_not_recorded_and_keeps_the_others(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.stage("first", "k", [], dict)

    def work() -> dict[str, object]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.stage("second", "k", [], work)
    assert run.done("first", "k")
    assert not run.done("second", "k")


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"make": 3}', '{"make": {"key": "k"}}', "[" * 100_000, "\xff"])
def test_a_manifest_that_is_none_is_a_data_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match="manifest.json: not a manifest; delete it"):
        RunFolder(tmp_path).done("make", "k")


@pytest.mark.parametrize(
    "line", ['{"a": 1', "[]", "3", "[" * 100_000, '{"a": ' + "1" * 5000 + "}", '{"a": "\udcff"}', "\udcff"]
)
def test_a_bad_line_is_named_by_file_and_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(f'{{"a": 0}}\n\n{line}\n', encoding="utf-8", errors="surrogateescape")
    with pytest.raises(DataError, match="data.jsonl:3: "):
        list(read_objects(path))


def test_a_mark_that_editors_put_before_utf8_and_their_line_ends_are_no_fault(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n{"a": 2}\r\n')
    assert list(read_objects(tmp_path / "a.jsonl")) == [(1, {"a": 1}), (3, {"a": 2})]
    (tmp_path / "b.jsonl").write_bytes(b'{"a": 1}\n\xef\xbb\xbf{"a": 2}\n')
    with pytest.raises(DataError, match=r"b\.jsonl:2: not valid JSON .*; expected one JSON object a line"):
        list(read_objects(tmp_path / "b.jsonl"))


@pytest.mark.parametrize("damage", ["cut", "changed", "plain"])
def test_a_damaged_gzip_file_is_a_data_error(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "data.jsonl.gz"
    content = bytearray(gzip.compress(b'{"a": 0}\n' + b"".join(b'{"a": "%d"}\n' % (i * i) for i in range(9999))))
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "changed":
        content[len(content) // 2 :] = bytes(len(content) // 2)
    else:
        content[:] = b'{"a": 0}\n'
    path.write_bytes(content)
    with pytest.raises(DataError, match="data.jsonl.gz:[0-9]+: can't be read|not valid JSON|not UTF-8"):
        list(read_objects(path))


def test_half_a_surrogate_pair_is_written_and_read_back(tmp_path: Path) -> None:
    record = Reject("a", "stage", "rule", "cut \ud83d \u2028 \x85 whole 😀")
    with RecordLog(tmp_path / "log.jsonl") as log:
        log.append([record])
    write_records(tmp_path / "file.jsonl", [record])
    for name in ("log.jsonl", "file.jsonl"):
        assert list(read_records(tmp_path / name, Reject)) == [record]
        assert len((tmp_path / name).read_text(encoding="utf-8").split("\n")) == 2


def test_the_manifest_can_be_read_by_people(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.stage("make", "k", [], lambda: {"model": "日本"})
    assert "日本" in (tmp_path / "manifest.json").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))["make"]["wrote"] == {}
