"""From text to token ids: EOS always, BOS where there is one, nothing that a text says is a special token."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedloom.errors import ContractError, ModelError
from embedloom.model.inputs import (
    PROBES,
    InputContract,
    contract_for,
    length_sorted,
    read_contract,
    record_contract,
    token_ids,
)
from tiny import ENCODERS, KINDS, SPECIAL, makers_tokenizer_of, texts_that_are_hard, tokenizer_of


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_bos_text_eos_within_the_limit(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    contract = contract_for(tokenizer, max_length=20)
    special = {id for token in SPECIAL[kind] if token for id in tokenizer.convert_tokens_to_ids([token])}
    has_bos = SPECIAL[kind][2] is not None
    assert (contract.bos is not None) == has_bos
    for text, ids in zip(texts_that_are_hard(), token_ids([*texts_that_are_hard()], tokenizer, contract), strict=True):
        assert ids[-1] == contract.eos == tokenizer.eos_token_id
        assert not has_bos or ids[0] == tokenizer.bos_token_id
        inner = ids[has_bos:-1]
        assert not special & set(inner), f"{text!r} holds a special token"
        assert len(ids) <= 20
        full = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        assert inner == full[: 20 - 1 - has_bos]
    assert token_ids([""], tokenizer, contract) == [[contract.bos, contract.eos] if has_bos else [contract.eos]]
    assert token_ids([], tokenizer, contract) == []


def test_bos_is_put_if_the_tokenizer_puts_it_or_says_that_it_does() -> None:
    assert contract_for(tokenizer_of("llama")).bos is not None
    silent = tokenizer_of("llama", puts_bos=False)
    assert silent("a")["input_ids"][0] != silent.bos_token_id
    assert contract_for(silent).bos is None
    # A tokenizer read from a GGUF file declares its BOS, but has no template that puts it.
    kind = type(silent)
    declared = type("Declared", (kind,), {"add_bos_token": True})
    silent.__class__ = declared
    assert silent("a")["input_ids"][0] != silent.bos_token_id
    assert contract_for(silent).bos == silent.bos_token_id


@pytest.mark.parametrize("kind", ["llama", "gemma3"])
def test_tokenizers_of_the_makers_classes_keep_the_contract(kind: str) -> None:
    tokenizer = makers_tokenizer_of(kind)
    contract = contract_for(tokenizer, max_length=16)
    for ids in token_ids([*texts_that_are_hard()], tokenizer, contract):
        assert ids.count(contract.eos) == 1
        assert ids[-1] == contract.eos
        assert len(ids) <= 16


def test_a_tokenizer_without_eos_is_refused() -> None:
    tokenizer = tokenizer_of("llama")
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="no EOS"):
        contract_for(tokenizer)


def test_a_query_carries_its_instruction_unless_there_is_none() -> None:
    contract = InputContract(bos=None, eos=1)
    assert contract.query_text("q", "Find it") == "Instruct: Find it\nQuery: q"
    assert contract.query_text("q", "") == "q"
    assert InputContract(bos=None, eos=1, prompt="none").query_text("q", "Find it") == "q"


@pytest.mark.parametrize(
    ("prompt", "query", "document"),
    [
        ("instruction", "Instruct: Find it\nQuery: q", "d"),
        ("prefix", "query: q", "passage: d"),
        ("none", "q", "d"),
        ("both", "Instruct: Find it\nQuery: q", "Instruct: Represent the document for retrieval.\nDocument: d"),
    ],
)
def test_what_stands_before_queries_and_documents(prompt: str, query: str, document: str) -> None:
    contract = InputContract(bos=None, eos=1, prompt=prompt)
    assert (contract.query_text("q", "Find it"), contract.document_text("d")) == (query, document)


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoders_tokens_frame_the_text_as_its_makers_do(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    contract = contract_for(tokenizer, max_length=16, pooling="cls")
    texts = ["the red fox", "", "boats wait"]
    assert token_ids(texts, tokenizer, contract) == tokenizer(texts)["input_ids"]
    assert token_ids(["boats wait for wind " * 9], tokenizer, contract)[0][-1] == contract.eos


def test_reading_the_first_token_needs_one_that_always_stands_there() -> None:
    with pytest.raises(ModelError, match="pooling `cls` needs one"):
        contract_for(tokenizer_of("qwen3"), pooling="cls")


@pytest.mark.parametrize(("instructed", "prompt"), [(True, "instruction"), (False, "none")])
def test_a_contract_from_before_there_were_prompts_is_read(instructed: bool, prompt: str) -> None:
    stored = stored_of()
    del stored["prompt"]
    assert read_contract(stored | {"instructed": instructed}, tokenizer_of("llama")).prompt == prompt


@pytest.mark.parametrize("kind", [*KINDS, *ENCODERS])
def test_a_recorded_contract_is_read_again(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    contract = contract_for(tokenizer, max_length=64, pooling="mean")
    stored = json.loads(json.dumps(record_contract(tokenizer, contract)))
    assert set(stored["probes"]) == set(PROBES)
    assert read_contract(stored, tokenizer) == contract


def stored_of(kind: str = "llama") -> dict[str, Any]:
    tokenizer = tokenizer_of(kind)
    return json.loads(json.dumps(record_contract(tokenizer, contract_for(tokenizer))))


def test_a_changed_tokenizer_is_refused_and_the_error_names_what_changed() -> None:
    changed = tokenizer_of("llama")
    changed.eos_token = "<eos>"
    with pytest.raises(ContractError, match=f"EOS id is {changed.eos_token_id}, but .* trained with"):
        read_contract(stored_of(), changed)
    changed = tokenizer_of("llama")
    changed.bos_token = "<bos>"
    with pytest.raises(ContractError, match="BOS id is"):
        read_contract(stored_of(), changed)
    # The same special tokens, and other pieces.
    changed = makers_tokenizer_of("llama")
    stored = stored_of() | {"eos": changed.eos_token_id, "bos": changed.bos_token_id}
    with pytest.raises(ContractError, match=r"probe text .*boiling point.*: token \d+ is \d+, was \d+"):
        read_contract(stored, changed)


def test_a_text_that_became_longer_is_named_too() -> None:
    stored = stored_of()
    stored["probes"][""] = [*stored["probes"][""], 9]
    with pytest.raises(ContractError, match="probe text '': .*"):
        read_contract(stored, tokenizer_of("llama"))


@pytest.mark.parametrize(
    "odd", [{"extra": 1}, {"probes": 3}, {"prompt": "odd"}, {"max_length": "long"}, {"probes": {"a": "b"}}]
)
def test_a_damaged_contract_is_refused(odd: dict[str, Any]) -> None:
    with pytest.raises(ContractError):
        read_contract(stored_of() | odd, tokenizer_of("llama"))


@settings(deadline=None)
@given(st.lists(st.integers(0, 60), max_size=40), st.integers(1, 200), st.integers(1, 9))
def test_groups_cover_each_row_once_within_the_budget(lengths: list[int], budget: int, most: int) -> None:
    groups = length_sorted(lengths, token_budget=budget, max_rows=most)
    assert sorted(row for group in groups for row in group) == list(range(len(lengths)))
    for group in groups:
        longest = max(lengths[row] for row in group)
        assert len(group) <= most
        assert len(group) == 1 or len(group) * longest <= budget
    order = [lengths[row] for group in groups for row in group]
    assert order == sorted(lengths, reverse=True)
