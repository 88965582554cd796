"""`kill -9` in the middle of building and of appending: a whole old index or none, and every committed row."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from embedloom.errors import DataError
from embedloom.records import Document
from embedloom.search.index import create_index, open_index
from fakes import HashEmbedder
from killing import kill_after

BUILD = """
import sys
from fakes import HashEmbedder
from embedloom.records import Document
from embedloom.search.index import create_index
def documents():
    for i in range(100_000):
        if i == 64:
            print("ready", flush=True)  # the first batches are written by now
        yield Document(f"new{i}", f"text {i}")
create_index(sys.argv[1], documents(), HashEmbedder("new", "f1"), overwrite=True, batch_size=16)
"""

APPEND = """
import sys
from fakes import HashEmbedder
from embedloom.records import Document
from embedloom.search.index import open_index
index = open_index(sys.argv[1])
print("ready", flush=True)
for number in range(100_000):
    batch = [Document(f"{sys.argv[2]}-{number}-{i}", f"text {number} {i}") for i in range(5)]
    index.add(batch, HashEmbedder())
    print(number, flush=True)
"""


def test_a_killed_build_leaves_none_or_the_old_index_and_no_litter(tmp_path: Path) -> None:
    place = tmp_path / "index"
    kill_after(BUILD, place, seconds=0.3)
    with pytest.raises(DataError, match="no index here"):
        open_index(place)
    create_index(place, [Document("old", "old text")], HashEmbedder("old"))
    kill_after(BUILD, place, seconds=0.3)
    assert len(list(tmp_path.iterdir())) == 2
    index = open_index(place)
    assert index.model.name == "old"
    assert index.documents(["old"]) == [Document("old", "old text")]
    create_index(place, [Document("next", "next text")], HashEmbedder("next"), overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_a_killed_append_loses_no_committed_row_and_leaves_no_half_batch(tmp_path: Path) -> None:
    place = tmp_path / "index"
    create_index(place, [Document("first", "first text")], HashEmbedder())
    promised: set[str] = set()
    for attempt in range(3):
        seen = kill_after(APPEND, place, str(attempt), seconds=random.Random(attempt).uniform(0.2, 0.6))
        promised |= {f"{attempt}-{number}-{i}" for number in seen for i in range(5)}
        index = open_index(place)
        assert (len(index) - 1) % 5 == 0
        assert {document.id for document in index.documents(sorted(promised))} == promised
        assert index.search(["first text"], HashEmbedder(), k=1)[0][0].document_id == "first"
    assert promised
    assert open_index(place).add([Document("last", "last text")], HashEmbedder()) == 1
