"""A checkpoint gives sentence-transformers the vectors that we get from it: every kind of model, every hard text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from embedloom.model.encoder import open_encoder
from embedloom.model.inputs import PROMPTS, contract_for
from embedloom.model.pooling import POOLINGS
from embedloom.train.checkpoint import Origin, save_checkpoint
from tiny import ENCODERS, KINDS, makers_tokenizer_of, model_of, texts_that_are_hard, tokenizer_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

INSTRUCTIONS = {"grounded": "Given a question, retrieve passages that answer it", "sts": "Retrieve similar text"}
ORIGIN = Origin(base="tiny", instructions=INSTRUCTIONS, settings={}, rows=3)

TOKENIZERS = {
    **{kind: (kind, lambda kind=kind: tokenizer_of(kind)) for kind in (*KINDS, *ENCODERS)},
    "llama-bos-not-put": ("llama", lambda: tokenizer_of("llama", puts_bos=False)),
    "llama-class": ("llama", lambda: makers_tokenizer_of("llama")),
    "gemma-class": ("gemma3", lambda: makers_tokenizer_of("gemma3")),
}


def saved(folder: Path, kind: str, tokenizer: PreTrainedTokenizerBase, pooling: str = "last", **told: str) -> Path:
    contract = contract_for(tokenizer, max_length=48, pooling=pooling, **told)
    save_checkpoint(folder, model_of(kind), tokenizer, contract, ORIGIN)
    return folder


@pytest.mark.parametrize("name", TOKENIZERS)
def test_sentence_transformers_gives_equal_vectors(tmp_path: Path, name: str) -> None:
    from sentence_transformers import SentenceTransformer

    kind, make = TOKENIZERS[name]
    # What random weights of an encoder say at its last token differs little.
    folder = saved(tmp_path / "model", kind, make(), "mean" if kind in ENCODERS else "last")
    ours = open_encoder(folder, dtype="float32")
    theirs = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    texts = list(texts_that_are_hard())
    for role, mine, peer in (
        ("documents", ours.encode_documents(texts), theirs.encode(texts)),
        ("named documents", ours.encode_documents(texts), theirs.encode(texts, prompt_name="document")),
        ("queries", ours.encode_queries(texts, INSTRUCTIONS["grounded"]), theirs.encode(texts, prompt_name="query")),
        ("sts", ours.encode_queries(texts, INSTRUCTIONS["sts"]), theirs.encode(texts, prompt_name="sts")),
    ):
        np.testing.assert_allclose(peer, mine, atol=1e-5, err_msg=role)
    # Vectors that are all alike would agree whatever a reader does.
    spread = ours.encode_documents(texts)
    assert (spread @ spread.T)[0, 3] < 0.99


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("kind", ["llama", *ENCODERS])
def test_poolings_and_prompts_agree_too(tmp_path: Path, kind: str, pooling: str, prompt: str) -> None:
    from sentence_transformers import SentenceTransformer

    folder = saved(tmp_path / "model", kind, tokenizer_of(kind), pooling, prompt=prompt)
    texts = ["the red fox", "boats wait for wind " * 40, "東京タワー Москва", "old"]
    ours = open_encoder(folder, dtype="float32")
    assert (ours.contract.pooling, ours.contract.prompt) == (pooling, prompt)
    theirs = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    documents = ours.encode_documents(texts)
    np.testing.assert_allclose(theirs.encode(texts, prompt_name="document"), documents, atol=1e-5)
    queries = ours.encode_queries(texts, INSTRUCTIONS["grounded"])
    np.testing.assert_allclose(theirs.encode(texts, prompt_name="grounded"), queries, atol=1e-5)
    if pooling == "cls" and kind == "llama":
        # Nothing stands before the first token of a causal model: it is the same in every text.
        assert np.abs(documents - documents[0]).max() < 1e-6
    else:
        assert (np.abs(queries - documents).max() < 1e-6) == (prompt == "none")


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_reader_that_knows_only_transformers_gets_our_token_ids(tmp_path: Path, name: str) -> None:
    from transformers import AutoTokenizer

    from embedloom.model.inputs import token_ids

    kind, make = TOKENIZERS[name]
    base = make()
    contract = contract_for(base, max_length=48)
    folder = saved(tmp_path / "model", kind, base)
    texts = list(texts_that_are_hard())
    read = AutoTokenizer.from_pretrained(str(folder))
    assert read(texts, truncation=True)["input_ids"] == token_ids(texts, base, contract)
    assert read.pad_token_id is not None


def test_keys_of_older_readers_are_there(tmp_path: Path) -> None:
    """Readers before sentence-transformers 5.4 know the switches only, later ones the name only."""
    folder = saved(tmp_path / "model", "llama", tokenizer_of("llama"))
    pooling = json.loads((folder / "1_Pooling" / "config.json").read_text(encoding="utf-8"))
    assert pooling["pooling_mode"] == "lasttoken"
    assert pooling["pooling_mode_lasttoken"] is True
    switches = [key for key in pooling if key.startswith("pooling_mode_") and pooling[key]]
    assert switches == ["pooling_mode_lasttoken"]
    assert pooling["word_embedding_dimension"] == pooling["embedding_dimension"] == 32
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    assert [module["type"].rsplit(".", 1)[-1] for module in modules] == ["Transformer", "Pooling", "Normalize"]
    transformer = json.loads((folder / "sentence_bert_config.json").read_text(encoding="utf-8"))
    assert transformer["max_seq_length"] == 48
    prompts = json.loads((folder / "config_sentence_transformers.json").read_text(encoding="utf-8"))["prompts"]
    assert prompts["query"] == f"Instruct: {INSTRUCTIONS['grounded']}\nQuery: "
    assert prompts["document"] == ""


def test_a_checkpoint_replaces_the_one_before_and_leaves_nothing_beside(tmp_path: Path) -> None:
    first = saved(tmp_path / "model", "llama", tokenizer_of("llama"))
    (first / "stray").write_text("of the first", encoding="utf-8")
    saved(tmp_path / "model", "llama", tokenizer_of("llama"))
    assert not (first / "stray").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
