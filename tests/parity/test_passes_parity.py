"""A beginning that is computed once gives the vectors and gradients of one that every row repeats."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from embedloom.model.backbone import hidden_states, pad_batch
from embedloom.model.packed import few_sizes, packing, packs, use_packed_passes
from embedloom.model.passes import (
    BEGINNING,
    common_beginning,
    computed_tokens,
    plan_passes,
    row_states,
    row_vectors,
)
from embedloom.model.pooling import POOLINGS, pool
from rank_cases import with_lora
from tiny import BASES, ENCODERS, model_of

CPU = torch.device("cpu")
KINDS = ["gemma3", "llama", "qwen3", "mistral"]
START = list(range(40, 40 + 19))
ROWS = [[*START, *range(5, 5 + length)] for length in (3, 40, 1, 17)]
"""Common beginning, then texts shorter and longer than the tiny models' sliding window."""
OTHERS = [[7, 8], [60, *range(30)], [9], list(range(50, 25, -1))]
"""Nothing in common."""


def plain(model: torch.nn.Module, rows: list[list[int]], pooling: str) -> torch.Tensor:
    ids, mask = pad_batch(rows, 0, CPU)
    return pool(hidden_states(model, ids, mask), mask, pooling)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("kind", [*KINDS, *ENCODERS])
def test_vectors_are_those_of_the_repeated_beginning(kind: str, pooling: str) -> None:
    model = model_of(kind)
    assert common_beginning(ROWS) == len(START)
    with torch.inference_mode():
        found = row_vectors(model, ROWS, pooling=pooling, pad=0, device=CPU)
        torch.testing.assert_close(found, plain(model, ROWS, pooling), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("kind", BASES)
def test_packed_vectors_are_those_of_padded_rows(kind: str, pooling: str, share: bool) -> None:
    model = model_of(kind)
    expected = [plain(model, rows, pooling) for rows in (ROWS, OTHERS)]
    use_packed_passes(model, CPU)
    for rows, padded in zip((ROWS, OTHERS), expected, strict=True):
        assert packs(model, rows)
        with torch.inference_mode():
            found = row_vectors(model, rows, pooling=pooling, pad=0, device=CPU, share=share)
        torch.testing.assert_close(found, padded, atol=1e-5, rtol=1e-5)


# Tokens, blocks and lengths beyond what is kept exactly; rows of one token, or of one behind the beginning, and two.
FILLED = {
    "texts": [list(range(5, 5 + length)) for length in (*range(2, 36), 45, 45, 70)],
    "queries": [[*START, *range(5, 5 + length)] for length in (*range(1, 36), 38)],
    "one token each": [[number] for number in range(2, 39)],
    "one, and two": [*([number] for number in range(2, 34)), [40, 41]],
    "one token of their own": [[*START, number] for number in range(40)],
    "one long row": [list(range(5, 5 + 75))],
    "full": [[number, *range(5, 27)] for number in range(2, 5)],
    "room behind two rows": [[number, *range(5, 5 + length)] for number, length in enumerate((40, 32, 42))],
}


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("rows", FILLED.values(), ids=FILLED)
@pytest.mark.parametrize("kind", ["gemma3", "qwen3"])
def test_filler_changes_no_vector_and_no_gradient(kind: str, rows: list[list[int]], pooling: str) -> None:
    def found(packed: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        base = model_of(kind)
        if packed:
            use_packed_passes(base, CPU)
        model = with_lora(base)
        how = {"pooling": pooling, "pad": 0, "device": CPU}
        vectors = row_vectors(model, rows, **how) if packed else plain(model, rows, pooling)
        (vectors * torch.arange(vectors.numel()).reshape(vectors.shape).sin()).sum().backward()
        grads = {name: p.grad for name, p in model.named_parameters() if p.requires_grad and p.grad is not None}
        return vectors.detach(), grads

    (filled, gradients), (padded, expected) = found(True), found(False)
    torch.testing.assert_close(filled, padded, atol=1e-5, rtol=1e-5)
    assert gradients.keys() == expected.keys()
    for name, gradient in expected.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(gradients[name], gradient, atol=1e-5 * max(scale, 1.0), rtol=1e-4, msg=name)


@pytest.mark.parametrize("rows", FILLED.values(), ids=FILLED)
def test_passes_have_few_sizes(rows: list[list[int]]) -> None:
    beginning = common_beginning(rows)
    packed = packing(rows, beginning if beginning >= BEGINNING else 0)
    tokens, (blocks, longest) = packed.ids_1N.shape[1], packed.slots_RL.shape
    # Tokens that have places: blocks that are full of tokens take no filler.
    assert tokens == few_sizes(tokens, 6) or tokens == blocks * longest
    assert (blocks, longest) == (few_sizes(blocks, 5), few_sizes(longest, 5))
    own = len(rows) + (beginning >= BEGINNING)
    assert blocks == few_sizes(own, 5)
    assert len(packed.places_N) == packed.positions_1N.shape[1] == tokens
    assert torch.equal(packed.slots_RL.flatten()[packed.places_N], torch.arange(tokens))


@given(st.integers(0, 5000), st.integers(1, 8))
def test_a_size_is_the_next_of_few(number: int, bits: int) -> None:
    size = few_sizes(number, bits)
    assert number <= size <= number * (1 + 2.0 ** (1 - bits))
    assert few_sizes(size, bits) == size
    assert len(f"{size:b}".rstrip("0")) <= bits


@pytest.mark.parametrize("kind", KINDS)
def test_states_and_mask_are_whole(kind: str) -> None:
    model = model_of(kind)
    with torch.inference_mode():
        states, mask = row_states(model, ROWS, pad=0, device=CPU)
    ids, whole = pad_batch(ROWS, 0, CPU)
    assert torch.equal(mask, whole)
    assert states.shape[:2] == ids.shape


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_the_repeated_beginning(kind: str, packed: bool) -> None:
    def gradients(shared: bool) -> dict[str, torch.Tensor]:
        base = model_of(kind)
        if packed and shared:
            use_packed_passes(base, CPU)
        model = with_lora(base)
        if shared:
            vectors = row_vectors(model, ROWS, pooling="last", pad=0, device=CPU)
        else:
            vectors = plain(model, ROWS, "last")
        (vectors * torch.arange(vectors.numel()).reshape(vectors.shape).sin()).sum().backward()
        return {name: p.grad for name, p in model.named_parameters() if p.requires_grad and p.grad is not None}

    shared, repeated = gradients(True), gradients(False)
    assert shared.keys() == repeated.keys()
    for name, gradient in repeated.items():
        assert gradient.abs().max() > 0
        torch.testing.assert_close(
            shared[name], gradient, atol=1e-5, rtol=1e-4, msg=lambda text, n=name: f"{n}: {text}"
        )


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
def test_layers_that_are_computed_again_repeat_the_beginning() -> None:
    model = model_of("llama")
    expected = plain(model, ROWS, "last")
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    found = row_vectors(model.train(), ROWS, pooling="last", pad=0, device=CPU)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    found.sum().backward()


def test_a_beginning_costs_its_tokens_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("llama")
    computed = []
    forward = type(model).forward

    def counting(self: torch.nn.Module, **arguments: object) -> object:
        computed.append(arguments["input_ids"].numel())
        return forward(self, **arguments)

    monkeypatch.setattr(type(model), "forward", counting)
    with torch.inference_mode():
        row_vectors(model, ROWS, pooling="last", pad=0, device=CPU)
    assert computed == [len(START), 4 * 40]


def test_tokens_of_a_pass_are_counted_with_the_padding_that_it_needs() -> None:
    model, lengths = model_of("llama"), [len(row) - len(START) for row in ROWS]
    assert computed_tokens(model, ROWS) == len(START) + 4 * max(lengths)
    assert computed_tokens(model, ROWS, share=False) == 4 * max(map(len, ROWS))
    assert computed_tokens(model_of("bert"), ROWS) == 4 * max(map(len, ROWS))
    use_packed_passes(model, CPU)
    assert computed_tokens(model, ROWS) == few_sizes(len(START) + sum(lengths), 6) == 80
    assert computed_tokens(model, ROWS, share=False) == few_sizes(sum(map(len, ROWS)), 6) == 140


def test_rows_that_are_equal_or_short_keep_a_token_of_their_own() -> None:
    assert common_beginning([START, START]) == len(START) - 1
    assert common_beginning([START, START[:5]]) == 4
    assert common_beginning([[1], [1, 2]]) == 0
    model = model_of("qwen3")
    with torch.inference_mode():
        for rows in ([START, START], [START, [*START, 7]], [START[:3], START[:3]]):
            found = row_vectors(model, rows, pooling="last", pad=0, device=CPU)
            torch.testing.assert_close(found, plain(model, rows, "last"), atol=1e-5, rtol=1e-5)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 30)), min_size=1, max_size=60),
    st.integers(1, 400),
    st.integers(1, 20),
)
def test_every_row_is_in_one_pass_within_the_budget(kinds: list[tuple[int, int]], budget: int, most: int) -> None:
    rows = [[*([kind] * 12 if kind else []), *range(100, 100 + length)] for kind, length in kinds]
    groups = plan_passes(rows, token_budget=budget, max_rows=most)
    assert sorted(row for group in groups for row in group) == list(range(len(rows)))
    for group in groups:
        common = common_beginning([rows[row] for row in group])
        own = max(len(rows[row]) for row in group) - (common if common >= BEGINNING else 0)
        assert len(group) <= most
        assert len(group) == 1 or len(group) * own <= budget


def test_rows_of_one_instruction_go_together_where_it_pays() -> None:
    queries = [[*START, 200 + n] for n in range(8)]
    documents = [[300 + n, *range(20)] for n in range(8)]
    mixed = [row for pair in zip(queries, documents, strict=True) for row in pair]
    groups = plan_passes(mixed, token_budget=1024)
    assert sorted(map(sorted, groups)) == [list(range(0, 16, 2)), list(range(1, 16, 2))]
    assert len(plan_passes(mixed, token_budget=16_384)) == 1
