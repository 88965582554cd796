"""GradCache gives the gradients of one graph over the whole batch, dropout and all."""

from __future__ import annotations

import pytest
import torch

from embedloom.model.backbone import hidden_states, pad_batch
from embedloom.model.inputs import contract_for
from embedloom.model.passes import common_beginning, plan_passes
from embedloom.model.pooling import pool
from embedloom.records import Example
from embedloom.train.engine import ALONE, Ranks
from embedloom.train.gradcache import loss_and_gradients
from embedloom.train.loss import Objective, info_nce
from embedloom.train.rows import TokenBatch, token_batch
from rank_cases import with_lora
from tiny import WORDS, model_of, tokenizer_of

CPU = torch.device("cpu")
PAPER = Objective(temperature=0.1)
EVERY_OPTION = Objective(
    temperature=0.1, query_negatives=True, document_negatives=True, false_negative_margin=0.1, dimensions=(8, 16)
)


def a_batch(kind: str) -> TokenBatch:
    words = WORDS.split()
    examples = [
        Example("Find the words", " ".join(words[n : n + 3]), (" ".join(words[n : 2 * n + 9]),), (words[-n],))
        for n in range(1, 9)
    ]
    tokenizer = tokenizer_of(kind)
    return token_batch(examples, tokenizer, contract_for(tokenizer), hard_negatives=1, seed=0, step=0)


def gradients(
    kind: str,
    batch: TokenBatch,
    *,
    dropout: float,
    graph_tokens: int,
    pooling: str = "last",
    objective=PAPER,
    ranks: Ranks = ALONE,
):
    """Loss and every trained parameter's gradient."""
    model = with_lora(model_of(kind), dropout=dropout)

    def loss_of(vectors_ND: torch.Tensor) -> torch.Tensor:
        q_BD, d_MD = vectors_ND[: batch.query_count], vectors_ND[batch.query_count :]
        return info_nce(q_BD, d_MD, batch.positive_B, batch.blocked_BM, batch.alike_BB, objective)

    torch.manual_seed(4)
    loss = loss_and_gradients(
        model,
        batch.rows,
        loss_of,
        pooling=pooling,
        pad=0,
        device=CPU,
        token_budget=96,
        graph_tokens=graph_tokens,
        ranks=ranks,
    )
    found = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert found
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in found.values())
    return loss, found, model, loss_of


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize(
    ("kind", "pooling"), [("gemma3", "last"), ("llama", "mean"), ("qwen3", "last"), ("mistral", "last")]
)
@pytest.mark.parametrize(("graph_tokens", "objective"), [(0, PAPER), (200, EVERY_OPTION)])
def test_cached_gradients_equal_those_of_one_graph(
    kind: str, pooling: str, dropout: float, graph_tokens: int, objective: Objective
) -> None:
    batch = a_batch(kind)
    assert len(plan_passes(batch.rows, token_budget=96)) > 3
    settings = {"dropout": dropout, "pooling": pooling, "objective": objective}
    cached_loss, cached, *_ = gradients(kind, batch, graph_tokens=graph_tokens, **settings)
    whole_loss, whole, *_ = gradients(kind, batch, graph_tokens=10**9, **settings)
    assert cached_loss == pytest.approx(whole_loss, abs=1e-6)
    for name, gradient in whole.items():
        torch.testing.assert_close(
            cached[name], gradient, atol=1e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_shared_beginnings_have_the_gradients_of_repeated_ones() -> None:
    """The queries' common instruction is computed once a pass here, and by every row in the processes that can't."""

    class Repeating(Ranks):
        shares_beginnings = False

    batch = a_batch("gemma3")
    assert common_beginning(batch.rows[: batch.query_count]) >= 8
    for graph_tokens in (0, 10**9):
        loss, shared, *_ = gradients("gemma3", batch, dropout=0.0, graph_tokens=graph_tokens)
        again, repeated, *_ = gradients("gemma3", batch, dropout=0.0, graph_tokens=graph_tokens, ranks=Repeating())
        assert loss == pytest.approx(again, abs=1e-6)
        for name, gradient in repeated.items():
            torch.testing.assert_close(shared[name], gradient, atol=1e-5, rtol=1e-4)


def test_loss_is_that_of_all_rows_in_one_padded_tensor() -> None:
    """The groups of like length and the way back to the rows' own order change nothing."""
    batch = a_batch("qwen3")
    loss, found, model, loss_of = gradients("qwen3", batch, dropout=0.0, graph_tokens=0)
    model.zero_grad()
    ids, mask = pad_batch(batch.rows, 0, CPU)
    plain = loss_of(pool(hidden_states(model, ids, mask), mask, "last"))
    plain.backward()
    assert float(plain.detach()) == pytest.approx(loss, abs=1e-5)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(found[name], parameter.grad, atol=1e-5, rtol=1e-4)
