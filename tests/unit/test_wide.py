"""A wide output layer gives the numbers of the layer whose weights it has, whatever its way to them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from embedloom.model.wide import FEW, PIECE, WideLinear, compute_head_in_pieces
from tiny import model_of

WIDTH = 2 * PIECE + 77


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 5, FEW + 1])
def test_pieces_give_the_same_numbers(rows: int, bias: bool) -> None:
    torch.manual_seed(1)
    plain = nn.Linear(24, WIDTH, bias=bias)
    wide = WideLinear(plain)
    texts_RTD = torch.randn(rows, 1, 24)
    with torch.inference_mode():
        torch.testing.assert_close(wide(texts_RTD), plain(texts_RTD), rtol=1e-5, atol=1e-6)
    assert wide.weight is plain.weight


def test_gradients_still_flow() -> None:
    plain = nn.Linear(24, WIDTH)
    WideLinear(plain)(torch.randn(3, 24)).sum().backward()
    assert plain.weight.grad is not None


def test_a_model_with_many_words_gets_one_and_keeps_its_tied_weights() -> None:
    model = model_of("gemma3", head=True)
    compute_head_in_pieces(model)
    assert type(model.get_output_embeddings()) is nn.Linear
    model.resize_token_embeddings(2 * PIECE + 1)
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        before = model(ids).logits
        compute_head_in_pieces(model)
        assert isinstance(model.get_output_embeddings(), WideLinear)
        torch.testing.assert_close(model(ids).logits, before)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
