"""Averages of word vectors: plain, and weighted by rarity without the common direction."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from embedloom.cli.opening import open_embedder
from embedloom.errors import MissingExtraError, ModelError
from embedloom.evals.word_averages import RARITY, WordAverage
from tiny import save_tiny

TABLE = np.random.default_rng(3).normal(size=(10, 4)).astype(np.float32)


def ids(texts: list[str]) -> list[list[int]]:
    return [[int(word) for word in text.split()] for text in texts]


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def test_without_texts_the_average_is_plain_and_instructions_are_not_read() -> None:
    made = WordAverage("a", TABLE, ids)
    found = made.encode_documents(["1 2 3", "4", ""])
    np.testing.assert_allclose(found[0], unit(TABLE[[1, 2, 3]].mean(axis=0)), atol=1e-6)
    np.testing.assert_allclose(found[1], unit(TABLE[4]), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(made.encode_queries(["1 2 3"], "Find it")[0], found[0])


def test_sif_is_arora_liang_and_mas() -> None:
    texts = ["1 1 1 2", "1 3", "1 4 5", "1 2"]
    made = WordAverage("a", TABLE, ids, texts)
    counts = np.zeros(10)
    for row in ids(texts):
        for one in row:
            counts[one] += 1
    weight = RARITY / (RARITY + counts / counts.sum())
    means = np.array([(weight[row, None] * TABLE[row]).mean(axis=0) for row in ids(texts)])
    common = np.linalg.svd(means)[2][0]
    expected = [unit(mean - common * (mean @ common)) for mean in means]
    np.testing.assert_allclose(made.encode_documents(texts), expected, atol=1e-5)
    assert made.fingerprint != WordAverage("a", TABLE, ids, texts[:2]).fingerprint


def test_a_models_own_token_embeddings_are_averaged(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "m", "llama")
    found = open_embedder(f"sif:{folder}")
    vectors = found.encode_documents(["the red fox", "the red fox", "boats wait for wind"])
    assert found.dimension == 32
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert vectors[0] @ vectors[2] < 0.9


def test_static_vectors_of_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="no static vectors 'glove'; there are static:wordllama"):
        open_embedder("static:glove")
    if importlib.util.find_spec("wordllama") is not None:
        found = open_embedder("static:wordllama")
        vectors = found.encode_documents(["a dog runs in the park", "a puppy is running outside", "stocks fell today"])
        assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"embedloom\[static\]"):
        open_embedder("static:wordllama")
