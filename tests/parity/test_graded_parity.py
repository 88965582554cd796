"""Rows with scores: sentence-transformers' CoSENT, the same gradients by GradCache and on several ranks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from embedloom.model.inputs import contract_for
from embedloom.records import Example
from embedloom.train.gradcache import loss_and_gradients
from embedloom.train.loss import GradedPairs, Objective, batch_loss, cosent, info_nce
from embedloom.train.rows import TokenBatch, token_batch
from rank_cases import BUDGET, a_model, graded_batch, graded_loss_of
from ranks import Ranks
from tiny import tokenizer_of

CPU = torch.device("cpu")
ALL = 10**9
GRADED = ("sts", "bitext")


@pytest.fixture(scope="module")
def ranks() -> Iterator[Ranks]:
    with Ranks() as server:
        yield server


def unit(rows: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(rows, 6, generator=generator, dtype=torch.float64), dim=-1)


def pairs(scores: list[float], groups: list[int] | None = None) -> GradedPairs:
    """Query n with document n."""
    count = len(scores)
    at = torch.arange(count)
    return GradedPairs(
        torch.ones(count, dtype=torch.bool), at, at, torch.tensor(scores), torch.tensor(groups or [0] * count)
    )


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_the_loss_is_sentence_transformers_cosent(temperature: float) -> None:
    from sentence_transformers.sentence_transformer.losses import CoSENTLoss

    q, d, scores = unit(7, 1), unit(7, 2), [5.0, 0.0, 2.5, 2.5, 4.0, 1.0, 3.0]
    theirs = CoSENTLoss(torch.nn.Identity(), scale=1 / temperature)
    expected = theirs.compute_loss_from_embeddings([q, d], torch.tensor(scores, dtype=torch.float64))
    found = cosent(q, d, pairs(scores), Objective(graded_temperature=temperature))
    # Theirs leaves out pairs by a large number, not by infinity.
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


def test_scores_of_different_groups_are_not_compared() -> None:
    q, d = unit(4, 1), unit(4, 2)
    both = cosent(q, d, pairs([5, 1, 90, 10], [0, 0, 1, 1]), Objective())
    gaps = [(q[j] @ d[j] - q[i] @ d[i]) / 0.05 for i, j in ((0, 1), (2, 3))]
    assert float(both) == pytest.approx(float(torch.log(1 + sum(gap.exp() for gap in gaps))), rel=1e-6)
    assert float(cosent(q, d, pairs([3, 3, 3, 3]), Objective())) == 0.0


def test_dimensions_are_averaged() -> None:
    q, d, scores = unit(4, 1), unit(4, 2), pairs([1.0, 2, 3, 4])
    cut = [torch.nn.functional.normalize(v[:, :3], dim=-1) for v in (q, d)]
    expected = (cosent(*cut, scores, Objective()) + cosent(q, d, scores, Objective())) / 2
    assert float(cosent(q, d, scores, Objective(dimensions=(3, 6)))) == pytest.approx(float(expected), rel=1e-6)


def batch_of(examples: list[Example], graded: tuple[str, ...] = GRADED) -> TokenBatch:
    tokenizer = tokenizer_of("llama")
    return token_batch(
        examples, tokenizer, contract_for(tokenizer), hard_negatives=1, seed=0, step=0, graded=graded
    )  # fmt: skip


def test_rows_with_scores_of_the_named_families_are_graded() -> None:
    rows = [
        Example("i", "a", ("b",), ("c",), family="sts", high_score=4, low_score=2.5),
        Example("i", "d", ("e",), ("f",), family="bitext", high_score=4.5),
        Example("i", "g", ("h",), family="sts", high_score=0.0),
        Example("i", "j", ("k",), family="sts"),
        Example("i", "l", ("m",), family="short-long", high_score=3),
    ]
    graded = batch_of(rows).graded
    assert graded is not None
    assert graded.rows_B.tolist() == [True, True, True, False, False]
    found = zip(graded.query_P, graded.document_P, graded.score_P, graded.group_P, strict=True)
    # Documents: the five positives, then the negatives.
    assert [tuple(float(x) for x in pair) for pair in found] == [
        (0, 0, 4, 0), (1, 1, 4.5, 1), (2, 2, 0, 0), (0, 5, 2.5, 0),
    ]  # fmt: skip
    assert batch_of(rows, ()).graded is None
    assert batch_of(rows[3:]).graded is None


def test_each_kind_of_row_has_its_share_of_the_loss() -> None:
    rows = [Example("i", f"{n} a", (f"{n} b",), family="sts", high_score=n) for n in range(2)]
    rows += [Example("i", f"{n} c", (f"{n} d",)) for n in range(6)]
    batch = batch_of(rows)
    assert batch.graded is not None
    q, d = unit(8, 3), unit(8, 4)
    masks = batch.positive_B, batch.blocked_BM, batch.alike_BB
    for objective in (Objective(temperature=0.1), Objective(temperature=0.1, query_negatives=True, dimensions=(3, 6))):
        whole = batch_loss(q, d, *masks, objective, batch.graded)
        # InfoNCE of the last six alone, whose negatives are all eight documents.
        rest = [info_nce(q, d, *masks, objective, rows_B=torch.arange(8) == n) for n in range(2, 8)]
        expected = 0.25 * cosent(q, d, batch.graded, objective) + 0.75 * torch.stack(rest).mean()
        assert float(whole) == pytest.approx(float(expected), rel=1e-6)
        assert float(batch_loss(q, d, *masks, objective)) == float(info_nce(q, d, *masks, objective))
    only = batch_of(rows[:2])
    assert only.graded is not None
    alone = batch_loss(q[:2], d[:2], only.positive_B, only.blocked_BM, only.alike_BB, Objective(), only.graded)
    assert float(alone) == float(cosent(q[:2], d[:2], only.graded, Objective()))


def gradients(graph_tokens: int) -> tuple[float, dict[str, Any]]:
    batch, model = graded_batch(), a_model("llama", 0.0)
    assert batch.graded is not None
    assert 0 < int(batch.graded.rows_B.sum()) < batch.query_count
    loss = loss_and_gradients(
        model, batch.rows, graded_loss_of(batch), pooling="last", pad=0, device=CPU, token_budget=BUDGET,
        graph_tokens=graph_tokens,
    )  # fmt: skip
    return loss, {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def test_gradcache_and_ranks_have_the_gradients_of_one_graph(tmp_path: Path, ranks: Ranks) -> None:
    loss, expected = gradients(ALL)
    cached_loss, cached = gradients(0)
    assert cached_loss == pytest.approx(loss, abs=1e-5)
    others = ranks.results("rank_cases:graded_gradients", 2, tmp_path)
    for found_loss, found in [(cached_loss, cached), *((other["loss"], other["gradients"]) for other in others)]:
        assert found_loss == pytest.approx(loss, abs=1e-5)
        assert all(gradient.abs().max() > 0 for gradient in expected.values())
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4)


def test_graded_pairs_in_parts_have_the_loss_and_gradient_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(scores: int) -> tuple[torch.Tensor, ...]:
        monkeypatch.setattr("embedloom.train.loss.SCORES", scores)
        q, d = unit(7, 1).requires_grad_(), unit(7, 2).requires_grad_()
        # The first pair has none below it: its part adds nothing, and no gradient.
        loss = cosent(q, d, pairs([0.0, 5.0, 2.5, 2.5, 4.0, 1.0, 3.0], [0, 0, 0, 0, 1, 1, 1]), Objective())
        return loss.detach(), *torch.autograd.grad(loss, (q, d))

    whole, *parts = [found(scores) for scores in (1000, 21, 7, 1)]
    for part in parts:
        for one, expected in zip(part, whole, strict=True):
            torch.testing.assert_close(one, expected, rtol=1e-12, atol=1e-14)
