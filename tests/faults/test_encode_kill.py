"""`kill -9` while a file is encoded: the same rows at the end, and only what was in flight is encoded again."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq

from embedloom.scale.encode import encode_file, encode_here, vectors_of
from fakes import HashEmbedder
from killing import kill_after

BLOCK = 16
ENCODE = """
import sys, time
from pathlib import Path
from fakes import HashEmbedder
from embedloom.scale.encode import encode_file, encode_here, vectors_of
class Slow(HashEmbedder):
    def encode_documents(self, texts, *, progress=None):
        time.sleep(0.02)
        print(len(texts), flush=True)
        return super().encode_documents(texts, progress=progress)
model = Slow()
print("ready", flush=True)
encode_file(Path(sys.argv[1]), Path(sys.argv[2]), vectors_of(model), encode_here(model), block_size=16)
"""


def test_a_killed_encode_goes_on_and_ends_with_the_same_rows(tmp_path: Path) -> None:
    source, out, whole = tmp_path / "a.jsonl", tmp_path / "out.parquet", tmp_path / "whole.parquet"
    source.write_text("".join(json.dumps({"text": f"text {n}"}) + "\n" for n in range(4000)))
    started = [kill_after(ENCODE, source, out, seconds=seconds) for seconds in (0.5, 0.3, 0.7)]
    assert not out.exists()
    model = HashEmbedder()
    done = encode_file(source, out, vectors_of(model), encode_here(model), block_size=BLOCK)
    tried = sum(map(len, started)) * BLOCK
    assert tried > 0
    # Each kill costs at most the one block that was in flight.
    assert 4000 <= tried + done.encoded <= 4000 + len(started) * BLOCK
    encode_file(source, whole, vectors_of(model), encode_here(model), block_size=BLOCK)
    assert pq.read_table(out).equals(pq.read_table(whole))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "out.parquet", "whole.parquet"]
