"""Cached vectors: right rows, nothing encoded twice, nothing mixed up between models, roles and instructions."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedloom.errors import DataError, ModelError
from embedloom.model.vector_cache import CachedEmbedder
from embedloom.records import Embedder
from fakes import HashEmbedder


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.text(max_size=3), max_size=12), min_size=1, max_size=4), st.integers(1, 5))
def test_vectors_and_their_order_are_the_models_own(
    tmp_path_factory: pytest.TempPathFactory, calls: list[list[str]], write_every: int
) -> None:
    model = HashEmbedder()
    path = tmp_path_factory.mktemp("cache") / "vectors.sqlite"
    for texts in calls:
        cached = CachedEmbedder(model, path, write_every=write_every)
        np.testing.assert_array_equal(cached.encode_documents(texts), HashEmbedder().encode_documents(texts))
    assert sorted(model.encoded) == sorted({text for texts in calls for text in texts})


def test_it_is_an_embedder_with_its_models_name_and_fingerprint(tmp_path: Path) -> None:
    cached = CachedEmbedder(HashEmbedder("a", "b", 7), tmp_path / "new" / "vectors.sqlite")
    assert isinstance(cached, Embedder)
    assert (cached.name, cached.fingerprint, cached.dimension) == ("a", "b", 7)
    empty = cached.encode_documents([])
    assert (empty.shape, empty.dtype) == ((0, 7), np.float32)


def test_role_instruction_and_fingerprint_are_other_entries(tmp_path: Path) -> None:
    model = HashEmbedder()
    cached = CachedEmbedder(model, tmp_path / "vectors.sqlite")
    cached.encode_documents(["ab"])
    cached.encode_queries(["ab"], "")
    cached.encode_queries(["b"], "a")
    cached.encode_queries(["ab"], "x")
    assert len(model.encoded) == 4
    changed = HashEmbedder("hash", "f1")
    CachedEmbedder(changed, tmp_path / "vectors.sqlite").encode_documents(["ab"])
    assert changed.encoded == ["ab"]
    renamed = HashEmbedder("renamed")
    CachedEmbedder(renamed, tmp_path / "vectors.sqlite").encode_queries(["ab"], "x")
    assert renamed.encoded == []


def test_progress_counts_every_text_once(tmp_path: Path) -> None:
    cached = CachedEmbedder(HashEmbedder(), tmp_path / "vectors.sqlite", write_every=2)
    texts = ["a", "b", "a", "c", "d", "e"]
    for _ in range(2):
        counted: list[int] = []
        cached.encode_documents(texts, progress=counted.append)
        assert sum(counted) == len(texts)


def test_long_texts_go_first_and_like_lengths_together(tmp_path: Path) -> None:
    model = HashEmbedder()
    CachedEmbedder(model, tmp_path / "vectors.sqlite", write_every=2).encode_documents(["a", "bbbb", "cc", "ddd"])
    assert model.encoded == ["bbbb", "ddd", "cc", "a"]


def test_what_was_encoded_before_a_failure_is_kept(tmp_path: Path) -> None:
    class Failing(HashEmbedder):
        def _encode(self, texts, progress):  # type: ignore[no-untyped-def]
            if len(self.encoded) >= 6:
                raise MemoryError
            return super()._encode(texts, progress)

    texts = [f"text {i}" for i in range(10)]
    with pytest.raises(MemoryError):
        CachedEmbedder(Failing(), tmp_path / "vectors.sqlite", write_every=3).encode_documents(texts)
    model = HashEmbedder()
    vectors = CachedEmbedder(model, tmp_path / "vectors.sqlite").encode_documents(texts)
    assert model.encoded == texts[6:]
    np.testing.assert_array_equal(vectors, HashEmbedder().encode_documents(texts))


def test_threads_may_share_one(tmp_path: Path) -> None:
    cached = CachedEmbedder(HashEmbedder(), tmp_path / "vectors.sqlite", write_every=3)
    texts = [f"text {i}" for i in range(40)]
    expected = HashEmbedder().encode_documents(texts)
    wrong: list[object] = []

    def work(shift: int) -> None:
        try:
            rolled = texts[shift:] + texts[:shift]
            np.testing.assert_array_equal(cached.encode_documents(rolled), np.roll(expected, -shift, axis=0))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(7 * i,)) for i in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_row_of_the_wrong_length_is_encoded_again(tmp_path: Path) -> None:
    path = tmp_path / "vectors.sqlite"
    CachedEmbedder(HashEmbedder(), path).encode_documents(["a", "b"])
    connection = sqlite3.connect(path)
    connection.execute("UPDATE vectors SET vector = x'00'")
    connection.commit()
    connection.close()
    model = HashEmbedder()
    np.testing.assert_array_equal(
        CachedEmbedder(model, path).encode_documents(["a", "b"]), HashEmbedder().encode_documents(["a", "b"])
    )
    assert model.encoded == ["a", "b"]


def test_other_files_and_formats_are_data_errors(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("no database, but long enough to be looked at\n" * 100, encoding="utf-8")
    with pytest.raises(DataError, match="letters.txt.*delete it"):
        CachedEmbedder(HashEmbedder(), tmp_path / "letters.txt")
    with sqlite3.connect(tmp_path / "future.sqlite") as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(DataError, match="format 7"):
        CachedEmbedder(HashEmbedder(), tmp_path / "future.sqlite")


def test_a_model_that_gives_another_shape_is_named(tmp_path: Path) -> None:
    class Short(HashEmbedder):
        def _encode(self, texts, progress):  # type: ignore[no-untyped-def]
            return super()._encode(texts, progress)[1:]

    with pytest.raises(ModelError, match="short gave shape"):
        CachedEmbedder(Short("short"), tmp_path / "vectors.sqlite").encode_documents(["a", "b"])
