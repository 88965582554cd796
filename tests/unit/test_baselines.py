"""A sentence-transformers folder as an embedder: its own prompts, unit vectors, a fingerprint of its contents."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from embedloom.errors import MissingExtraError, ModelError
from embedloom.evals.baselines import SentenceTransformerEmbedder, folder_hash
from embedloom.records import Embedder

sentence_transformers = pytest.importorskip("sentence_transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    source = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ask", ":", "red", "apple", "old", "car"]
    source.joinpath("vocab.txt").write_text("\n".join(words) + "\n")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(source)
    BertTokenizerFast(vocab=str(source / "vocab.txt")).save_pretrained(source)
    # A folder without pooling settings gets mean pooling.
    model = sentence_transformers.SentenceTransformer(
        str(source), prompts={"query": "ask: ", "document": ""}, device="cpu"
    )
    path = tmp_path_factory.mktemp("models") / "tiny"
    model.save(str(path))
    return path


def test_vectors_are_the_models_own_in_the_order_of_the_texts(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    embedder = SentenceTransformerEmbedder(folder, batch_size=2)
    assert capfd.readouterr() == ("", "")
    assert isinstance(embedder, Embedder)
    assert (embedder.name, embedder.dimension) == ("tiny", 16)
    texts = ["red", "old car red apple", "apple", "red car", "car"]
    told: list[int] = []
    documents = embedder.encode_documents(texts, progress=told.append)
    assert documents.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(documents, axis=1), 1, atol=1e-6)
    assert told == [2, 2, 1]
    plain = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    np.testing.assert_allclose(documents, plain.encode(texts, normalize_embeddings=True), atol=1e-6)
    asked = plain.encode(["ask: " + text for text in texts], normalize_embeddings=True)
    np.testing.assert_allclose(embedder.encode_queries(texts, "is not used"), asked, atol=1e-6)
    assert not np.allclose(documents, asked, atol=1e-3)
    assert embedder.encode_documents([]).shape == (0, 16)


def test_the_fingerprint_follows_contents_not_places(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(folder, copy)
    assert folder_hash(copy) == folder_hash(folder) == SentenceTransformerEmbedder(copy, name="x").fingerprint
    copy.joinpath("README.md").write_text("other words")
    assert folder_hash(copy) == folder_hash(folder)
    pooling = next(copy.glob("1_Pooling/config.json"))
    pooling.write_text(pooling.read_text() + " ")
    assert folder_hash(copy) != folder_hash(folder)


def test_what_is_no_model_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no modules.json"):
        SentenceTransformerEmbedder(tmp_path)
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    for path in broken.rglob("*.safetensors"):
        path.unlink()
    with pytest.raises(ModelError, match="sentence-transformers can't load it"):
        SentenceTransformerEmbedder(broken)


def test_a_missing_package_is_named_with_its_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"embedloom\[baselines\]"):
        SentenceTransformerEmbedder(folder)
