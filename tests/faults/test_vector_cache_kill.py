"""`kill -9` while vectors are cached, and two processes on one file: nothing lost, wrong or encoded twice."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from embedloom.model.vector_cache import CachedEmbedder
from fakes import HashEmbedder
from killing import kill_after, start

ENCODE = """
import sys, time
from fakes import HashEmbedder
from embedloom.model.vector_cache import CachedEmbedder

class Slow(HashEmbedder):
    def _encode(self, texts, progress):
        time.sleep(0.005)
        print("\\n".join(texts), flush=True)
        return super()._encode(texts, progress)

print("ready", flush=True)
cached = CachedEmbedder(Slow(), sys.argv[1], write_every=4)
cached.encode_documents([f"text {i:04}" for i in range(int(sys.argv[2]), int(sys.argv[3]))])
"""


def test_after_a_kill_at_most_one_group_is_encoded_again(tmp_path: Path) -> None:
    path = tmp_path / "vectors.sqlite"
    texts = [f"text {i:04}" for i in range(2000)]
    handed: set[str] = set()
    written: set[str] = set()
    for attempt in range(3):
        printed = kill_after(ENCODE, path, 0, len(texts), seconds=random.Random(attempt).uniform(0.2, 0.5))
        assert written.isdisjoint(printed)
        handed.update(printed)
        # The group that was being encoded when the kill came may not have been written.
        written.update(printed[:-4])
    assert written
    model = HashEmbedder()
    vectors = CachedEmbedder(model, path).encode_documents(texts)
    assert written.isdisjoint(model.encoded)
    assert set(model.encoded) >= set(texts) - handed
    np.testing.assert_array_equal(vectors, HashEmbedder().encode_documents(texts))


def test_two_processes_fill_one_new_file(tmp_path: Path) -> None:
    path = tmp_path / "vectors.sqlite"
    running = [start(ENCODE, path, 0, 150), start(ENCODE, path, 100, 250), start(ENCODE, path, 0, 250)]
    for process in running:
        process.communicate()
        assert process.returncode == 0
    model = HashEmbedder()
    texts = [f"text {i:04}" for i in range(250)]
    vectors = CachedEmbedder(model, path).encode_documents(texts)
    assert model.encoded == []
    np.testing.assert_array_equal(vectors, HashEmbedder().encode_documents(texts))
