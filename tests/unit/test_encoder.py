"""The encoder: vectors of a text are its own, whatever stands beside it; a folder that can't be used says why."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from embedloom.errors import ContractError, ModelError
from embedloom.model.backbone import hidden_states, pad_batch
from embedloom.model.encoder import Encoder, open_encoder
from embedloom.model.fingerprint import fingerprint
from embedloom.model.inputs import PROMPTS, InputContract, contract_for, token_ids
from embedloom.model.pooling import pool
from embedloom.records import Embedder, content_id
from embedloom.run import file_hash
from embedloom.train.checkpoint import Origin, save_checkpoint
from tiny import KINDS, model_of, save_tiny, texts_that_are_hard, tokenizer_of

TEXTS = list(texts_that_are_hard())


def encoder(kind: str, token_budget: int = 4096) -> Encoder:
    tokenizer = tokenizer_of(kind)
    contract = contract_for(tokenizer, max_length=40)
    return Encoder(model_of(kind), tokenizer, contract, name=kind, fingerprint="f", token_budget=token_budget)


@pytest.mark.parametrize("kind", KINDS)
def test_a_vector_does_not_depend_on_the_batch(kind: str) -> None:
    together = encoder(kind).encode_documents(TEXTS)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    alone = np.vstack([encoder(kind).encode_documents([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(encoder(kind, 64).encode_documents(TEXTS[::-1])[::-1], alone, atol=1e-5)
    assert np.abs(together[0] - together[3]).max() > 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_a_vector_does_not_depend_on_the_padding_side(kind: str) -> None:
    """Ours pads on the right; a server may pad on the left, and reads the same vector."""
    ours = encoder(kind)
    rows = token_ids(TEXTS, ours.tokenizer, ours.contract)
    ids, mask = pad_batch(rows, 0, torch.device("cpu"))
    width = ids.shape[1]
    for row, length in enumerate(map(len, rows)):
        ids[row], mask[row] = ids[row].roll(width - length), mask[row].roll(width - length)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    with torch.inference_mode():
        states = ours.backbone(input_ids=ids, attention_mask=mask, position_ids=positions).last_hidden_state
        plain = hidden_states(ours.backbone, ids[:1], mask[:1])
    np.testing.assert_allclose(pool(states, mask).numpy(), ours.encode_documents(TEXTS), atol=1e-5)
    assert plain.shape == (1, width, 32)


def test_it_is_an_embedder_and_counts_what_it_did() -> None:
    ours = encoder("llama")
    assert isinstance(ours, Embedder)
    done: list[int] = []
    vectors = ours.encode_queries(TEXTS, "Find it", progress=done.append)
    assert (vectors.shape, sum(done)) == ((len(TEXTS), 32), len(TEXTS))
    assert ours.encode_documents([]).shape == (0, 32)
    bare = ours.encode_documents([f"Instruct: Find it\nQuery: {text}" for text in TEXTS])
    np.testing.assert_allclose(vectors, bare, atol=1e-5)


def checkpoint(folder: Path) -> Path:
    tokenizer = tokenizer_of("llama")
    contract = contract_for(tokenizer, max_length=40)
    save_checkpoint(folder, model_of("llama"), tokenizer, contract, Origin("tiny", {"q": "Find it"}, {}, 1))
    return folder


def test_the_fingerprint_is_of_the_content_not_the_place(tmp_path: Path) -> None:
    first = checkpoint(tmp_path / "a")
    stored = json.loads((first / "embedloom.json").read_text(encoding="utf-8"))
    assert open_encoder(first).fingerprint == stored["fingerprint"]
    shutil.copytree(first, tmp_path / "b")
    assert open_encoder(tmp_path / "b").fingerprint == stored["fingerprint"]
    assert open_encoder(first, max_length=20).fingerprint != stored["fingerprint"]
    settings = json.loads((first / "config.json").read_text(encoding="utf-8"))
    (first / "config.json").write_text(json.dumps(settings | {"rope_theta": 7.0}), encoding="utf-8")
    assert open_encoder(first).fingerprint != stored["fingerprint"]


def test_a_bare_decoder_gets_the_default_contract(tmp_path: Path) -> None:
    opened = open_encoder(save_tiny(tmp_path / "base", "qwen3"), dtype="float32", max_length=24)
    assert (opened.name, opened.contract.max_length, opened.contract.pooling) == ("base", 24, "last")


def test_a_changed_tokenizer_is_refused_with_the_folders_name(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model")
    path = folder / "tokenizer.json"
    description = json.loads(path.read_text(encoding="utf-8"))
    description["model"]["merges"] = description["model"]["merges"][:-40]
    path.write_text(json.dumps(description), encoding="utf-8")
    with pytest.raises(ContractError, match=r"model: the tokenizer gives other token ids .* for the probe text"):
        open_encoder(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("embedloom.json", "{", "is not valid JSON"),
        ("embedloom.json", "[]", "key 'fingerprint' is missing or damaged"),
        ("embedloom.json", '{"fingerprint": "a", "instructions": {}}', "key 'contract' is missing"),
        ("config.json", "{}", "can't be read"),
        ("tokenizer.json", "{", "tokenizer can't be read"),
        ("model.safetensors", "nonsense", "weights can't be read"),
    ],
)
def test_a_damaged_folder_is_refused_with_a_sentence(tmp_path: Path, name: str, content: str, message: str) -> None:
    folder = checkpoint(tmp_path / "model")
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=message):
        open_encoder(folder)


def test_missing_weights_are_refused_with_a_sentence(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="weights can't be read"):
        open_encoder(folder)


def test_what_a_contract_got_later_changes_no_fingerprint_of_what_was_there(tmp_path: Path) -> None:
    """Indexes name the fingerprint of their model: a model whose vectors are the same must keep it."""
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    first = {"bos": 2, "eos": 1, "max_length": 512, "pooling": "last"}
    parts = [("model.safetensors", file_hash(tmp_path / "model.safetensors"))]
    for prompt, instructed in (("instruction", True), ("none", False)):
        found = fingerprint(tmp_path, InputContract(bos=2, eos=1, prompt=prompt))
        assert found == content_id("fingerprint", parts, {**first, "instructed": instructed})
    prompts = {fingerprint(tmp_path, InputContract(bos=2, eos=1, prompt=prompt)) for prompt in PROMPTS}
    assert len(prompts) == len(PROMPTS)
