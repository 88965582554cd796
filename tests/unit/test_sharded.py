"""One model in several processes: the same vectors, errors as sentences, and no process left behind."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest

from embedloom.cli.opening import open_embedder
from embedloom.errors import ModelError
from embedloom.evals.sharded import ShardedEmbedder
from embedloom.evals.speed import Speed, TimedEmbedder, summed
from fakes import HashEmbedder
from killing import kill, start
from tiny import save_tiny
from word_embedder import WordEmbedder

ALONE = """
import os, sys, time
from functools import partial
from embedloom.evals.sharded import ShardedEmbedder
from fakes import HashEmbedder
from multiprocessing import active_children

if __name__ == "__main__":
    print("ready", flush=True)
    sharded = ShardedEmbedder(partial(HashEmbedder, "x"), 2)
    sharded.encode_documents(["a"] * 200)
    print(*(child.pid for child in active_children()), flush=True)
    time.sleep(100)
"""


def test_several_processes_give_the_vectors_of_one(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "model", "gemma3")
    opener = partial(open_embedder, f"path:{folder}", dtype="float32")
    texts = [f"boat {n} waits " * (1 + n % 5) for n in range(90)]
    one, told = opener(), []
    with ShardedEmbedder(opener, 2) as several:
        assert (several.name, several.fingerprint, several.dimension) == (one.name, one.fingerprint, one.dimension)
        queries = several.encode_queries(texts, "Find boats", progress=told.append)
        documents = several.encode_documents(texts)
        assert several.encode_documents([]).shape == (0, one.dimension)
    assert sum(told) == len(texts)
    np.testing.assert_allclose(queries, one.encode_queries(texts, "Find boats"), atol=1e-5)
    np.testing.assert_allclose(documents, one.encode_documents(texts), atol=1e-5)


def test_a_model_that_can_not_be_opened_is_the_sentence_of_one_process() -> None:
    with pytest.raises(ModelError, match="no model folder 'nowhere'"):
        ShardedEmbedder(partial(open_embedder, "nowhere"), 2)


def test_a_process_that_is_killed_is_told() -> None:
    others = set(active_children())
    with ShardedEmbedder(HashEmbedder, 2) as several:
        for child in set(active_children()) - others:
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(ModelError, match="ended before its work was done, perhaps for want of memory"):
            several.encode_documents(["a", "b", "c"])


def test_they_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    script = tmp_path / "alone.py"
    script.write_text(ALONE, encoding="utf-8")
    process = start(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')")
    assert process.stdout is not None
    children = [int(word) for word in process.stdout.readline().split()]
    assert len(children) == 2
    kill(process)
    for _ in range(100):
        if not any(alive(child) for child in children):
            break
        time.sleep(0.1)
    assert not any(alive(child) for child in children)


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_what_is_encoded_is_counted_and_timed() -> None:
    timed = TimedEmbedder(WordEmbedder())
    timed.encode_queries(["ab", "cde"], "Find")
    timed.encode_documents(["f"])
    assert (timed.texts, timed.characters) == (3, 6)
    assert timed.seconds > 0
    parts = [Speed("m", "f", 10, 100, 2.0), Speed("m", "f", 30, 300, 2.0), Speed("n", "g", 1, 5, 0.0)]
    found = summed(parts)
    assert (found["m"].texts_per_second, found["m"].characters_per_second) == (10, 100)
    assert found["n"].texts_per_second == 0
    # Another machine, or a model trained anew, is no part of the same speed.
    assert summed([*parts, Speed("m", "f", 5, 5, 1.0, 2)])["m"].texts == 5
