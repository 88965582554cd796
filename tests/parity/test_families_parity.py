"""Every family of base models by the whole way: trained, saved, opened, with the vectors of sentence-transformers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from embedloom.model.encoder import Encoder, open_encoder
from embedloom.model.inputs import contract_for
from embedloom.model.shape import read_shape
from embedloom.train.adapter import ADAPTER, adapter_of
from embedloom.train.checkpoint import Origin, save_checkpoint
from embedloom.train.loop import train
from embedloom.train.lora import add_lora, merged, train_all
from tiny import BASES, model_of, save_tiny, texts_that_are_hard, tokenizer_of
from toy_training import EXAMPLES, SETTINGS

TYPES = {
    "mistral": "mistral", "llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma3": "gemma3_text",
    "smollm2": "llama",
}  # fmt: skip
INSTRUCTION = "Find it"


@pytest.mark.parametrize(("kind", "method"), [*((kind, "lora") for kind in BASES), ("qwen2", "full")])
def test_a_step_changes_the_vectors_and_every_reader_has_the_same(tmp_path: Path, kind: str, method: str) -> None:
    from sentence_transformers import SentenceTransformer

    tokenizer = tokenizer_of(kind)
    contract = contract_for(tokenizer, max_length=48)
    backbone = model_of(kind)
    assert backbone.config.model_type == TYPES[kind]
    texts = list(texts_that_are_hard())
    before = Encoder(model_of(kind), tokenizer, contract, name="", fingerprint="").encode_documents(texts)
    model = train_all(backbone) if method == "full" else add_lora(backbone, rank=4, alpha=8, dropout=0.0, seed=0)
    logs = train(model, tokenizer, contract, EXAMPLES, dataclasses.replace(SETTINGS, steps=1), tmp_path / "training")
    assert all(np.isfinite(log.loss) and log.gradient_norm > 0 for log in logs)
    adapter = None if method == "full" else adapter_of(model)
    origin = Origin(kind, {"query": INSTRUCTION}, {}, len(EXAMPLES))
    save_checkpoint(tmp_path / "model", merged(model, torch.float32), tokenizer, contract, origin, adapter=adapter)
    assert (tmp_path / "model" / ADAPTER).is_dir() is (method == "lora")
    ours = open_encoder(tmp_path / "model", dtype="float32")
    theirs = SentenceTransformer(str(tmp_path / "model"), device="cpu", local_files_only=True)
    documents, queries = ours.encode_documents(texts), ours.encode_queries(texts, INSTRUCTION)
    assert np.abs(documents - before).max() > 1e-3
    np.testing.assert_allclose(theirs.encode(texts), documents, atol=1e-5)
    np.testing.assert_allclose(theirs.encode(texts, prompt_name="query"), queries, atol=1e-5)


@pytest.mark.parametrize("kind", BASES)
def test_its_size_can_be_read_for_an_estimate(tmp_path: Path, kind: str) -> None:
    shape = read_shape(save_tiny(tmp_path, kind))
    linear = [part for part in model_of(kind).modules() if isinstance(part, torch.nn.Linear)]
    assert shape.matrix_weights == sum(part.weight.numel() for part in linear)
