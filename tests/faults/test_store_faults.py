"""What may happen to a store: its client is killed while it appends, and its disk is full."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from embedloom.errors import DataError
from embedloom.records import Document
from embedloom.scale.encode import encode_file, encode_here, vectors_of
from embedloom.search.index import create_index, open_index
from embedloom.search.kinds import IndexKind
from fakes import HashEmbedder
from killing import kill_after, start
from postgres import server

APPEND = """
import sys
from fakes import HashEmbedder
from embedloom.records import Document
from embedloom.search.index import open_index
index = open_index(sys.argv[1])
print("ready", flush=True)
for number in range(100_000):
    batch = [Document(f"{sys.argv[2]}-{number}-{i}", f"text {number} {i}") for i in range(5)]
    index.update(batch, HashEmbedder()) if number % 2 else index.add(batch, HashEmbedder())
    print(number, flush=True)
"""
BUILD = """
import sys
from fakes import HashEmbedder
from embedloom.records import Document
from embedloom.search.index import create_index
print("ready", flush=True)
documents = (Document(f"new{i}", f"text {i}") for i in range(1_000_000))
create_index(sys.argv[1], documents, HashEmbedder("new", "f1"), overwrite=True, batch_size=16)
"""
# Where nothing may be mounted, a limit of the size of a file fails in the same place.
LIMITED = """
import resource, sys
from random import Random
from fakes import HashEmbedder
from embedloom.errors import DataError
from embedloom.records import Document
from embedloom.search.index import open_index
index = open_index(sys.argv[1])
print("ready", flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    index.add([Document(f"big{i}", Random(i).randbytes(4000).hex()) for i in range(1000)], HashEmbedder())
except DataError as error:
    print(error, flush=True)
"""


def test_a_killed_client_loses_no_committed_row_and_leaves_no_half_batch() -> None:
    pytest.importorskip("psycopg")
    with server() as address:
        place = f"{address}&index=killed"
        create_index(place, [Document("first", "first text")], HashEmbedder(), kind=IndexKind("hnsw", words="simple"))
        promised: set[str] = set()
        for attempt in range(2):
            seen = kill_after(APPEND, place, attempt, seconds=0.5)
            promised |= {f"{attempt}-{number}-{i}" for number in seen for i in range(5)}
            index = open_index(place)
            assert (len(index) - 1) % 5 == 0
            assert {document.id for document in index.documents(sorted(promised))} == promised
        kill_after(BUILD, place, seconds=0.3)
        index = open_index(place)
        assert index.model.name == "hash"
        assert index.add([Document("last", "last text")], HashEmbedder()) == 1


@contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own, or a skipped test where none may be made."""
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", place], check=False, capture_output=True
    )
    if done.returncode != 0:
        pytest.skip("nothing may be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def big(count: int) -> list[Document]:
    return [Document(f"big{i}", Random(i).randbytes(4000).hex()) for i in range(count)]


def test_an_index_on_a_full_disk_says_so_and_opens_with_what_it_had(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 6) as disk:
        place = disk / "index"
        index = create_index(place, [Document(f"d{i}", f"text {i}") for i in range(300)], HashEmbedder())
        with pytest.raises(DataError, match=r"index: can't be written \(.*[Nn]o space left.*as it was"):
            index.add(big(3000), HashEmbedder(), batch_size=300)
        opened = open_index(place)
        assert len(opened) % 300 == 0
        assert opened.search(["text 7"], HashEmbedder(), "", k=1)[0][0].document_id == "d7"
        with pytest.raises((DataError, OSError)):
            create_index(disk / "other", big(3000), HashEmbedder())
        assert not (disk / "other").exists()


def test_an_index_whose_files_may_not_grow_says_so_and_opens_with_what_it_had(tmp_path: Path) -> None:
    place = tmp_path / "index"
    create_index(place, [Document(f"d{i}", f"text {i}") for i in range(300)], HashEmbedder())
    process = start(LIMITED, place)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "can't be written" in said
    assert len(open_index(place)) == 300


def test_encoding_on_a_full_disk_keeps_the_blocks_that_are_done(tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    source.write_text("\n".join(f"text {n}" for n in range(4000)))
    model = HashEmbedder(dimension=512)
    told = vectors_of(model)
    with small_disk(tmp_path / "disk", 3) as disk:
        with pytest.raises(OSError, match="No space left"):
            encode_file(source, disk / "out.parquet", told, encode_here(model), block_size=200)
        left = [path.name for path in (disk / "out.parquet.blocks").iterdir()]
        assert any(name.endswith(".parquet") for name in left)
        assert not any(name.endswith(".partial") for name in left)
        assert not (disk / "out.parquet").exists()
