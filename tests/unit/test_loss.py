"""InfoNCE against the formula written out in NumPy, and which documents count as negatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from embedloom.model.inputs import contract_for
from embedloom.records import Example
from embedloom.train.loss import Objective, info_nce
from embedloom.train.rows import token_batch
from tiny import tokenizer_of


def unit(rows: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, 5))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def cosine_loss(
    queries: np.ndarray,
    documents: np.ndarray,
    positive: list[int],
    blocked: np.ndarray,
    alike: np.ndarray,
    objective: Objective,
) -> float:
    """The formula, a row and a negative at a time."""
    total = 0.0
    for row, own in enumerate(positive):
        negatives = [documents[d] @ queries[row] for d in range(len(documents)) if d != own and not blocked[row, d]]
        if objective.query_negatives:
            negatives += [queries[q] @ queries[row] for q in range(len(queries)) if q != row and not alike[row, q]]
        if objective.document_negatives:
            allowed = [d for d in range(len(documents)) if d != own and not blocked[row, d]]
            negatives += [documents[d] @ documents[own] for d in allowed]
        best = documents[own] @ queries[row]
        if objective.false_negative_margin is not None:
            negatives = [score for score in negatives if score <= best + objective.false_negative_margin]
        scores = np.exp(np.array([best, *negatives]) / objective.temperature)
        total -= np.log(scores[0] / scores.sum())
    return total / len(positive)


@pytest.mark.parametrize("temperature", [0.02, 1.0])
@pytest.mark.parametrize("queries_too", [False, True])
@pytest.mark.parametrize("documents_too", [False, True])
@pytest.mark.parametrize("margin", [None, 0.0, 0.3])
def test_loss_is_the_formula(temperature: float, queries_too: bool, documents_too: bool, margin: float | None) -> None:
    queries, documents = unit(4, 1), unit(7, 2)
    positive = [2, 0, 5, 2]
    blocked = np.zeros((4, 7), dtype=bool)
    blocked[0, 3] = blocked[2, [0, 1]] = True
    blocked[1, 0] = True  # its own positive: the mask must not take it away
    alike = np.eye(4, dtype=bool)
    alike[0, 3] = alike[3, 0] = True
    objective = Objective(temperature, queries_too, documents_too, margin)
    found = info_nce(
        torch.tensor(queries), torch.tensor(documents), torch.tensor(positive), torch.tensor(blocked),
        torch.tensor(alike), objective,
    )  # fmt: skip
    assert float(found) == pytest.approx(cosine_loss(queries, documents, positive, blocked, alike, objective), rel=1e-9)


@pytest.mark.parametrize("rows", [None, [True, False, True, True]])
def test_a_loss_in_parts_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch, rows: list[bool] | None) -> None:
    objective = Objective(0.2, query_negatives=True, document_negatives=True, false_negative_margin=0.3)
    blocked, alike = torch.zeros(4, 7, dtype=torch.bool), torch.eye(4, dtype=torch.bool)
    blocked[0, 3] = alike[0, 3] = alike[3, 0] = True
    chosen = None if rows is None else torch.tensor(rows)

    def found(scores: int) -> tuple[torch.Tensor, ...]:
        monkeypatch.setattr("embedloom.train.loss.SCORES", scores)
        queries = torch.tensor(unit(4, 1), requires_grad=True)
        documents = torch.tensor(unit(7, 2), requires_grad=True)
        loss = info_nce(queries, documents, torch.tensor([2, 0, 5, 1]), blocked, alike, objective, rows_B=chosen)
        return loss.detach(), *torch.autograd.grad(loss, (queries, documents))

    # Rows of 18 scores: all at once, three and one, one by one, and one where not even that fits.
    whole, *parts = [found(scores) for scores in (1000, 54, 18, 1)]
    for part in parts:
        for one, expected in zip(part, whole, strict=True):
            torch.testing.assert_close(one, expected, rtol=1e-12, atol=1e-14)


def test_the_scores_of_a_large_batch_are_not_in_memory_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedloom.train.loss.SCORES", 700)
    count = 50
    saved: list[int] = []
    queries = torch.nn.functional.normalize(torch.randn(count, 5), dim=-1).requires_grad_()
    documents = torch.nn.functional.normalize(torch.randn(2 * count, 5), dim=-1).requires_grad_()
    masks = torch.arange(count), torch.zeros(count, 2 * count, dtype=torch.bool), torch.eye(count, dtype=torch.bool)

    def save(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        info_nce(queries, documents, *masks, Objective())
    assert sum(saved) < count * 2 * count / 4


def test_the_margin_takes_the_false_negatives_away() -> None:
    query = torch.tensor([[1.0, 0.0]])
    documents = torch.nn.functional.normalize(torch.tensor([[1.0, 1.0], [1.0, 0.1], [0.0, 1.0]]), dim=-1)
    masks = torch.tensor([0]), torch.zeros(1, 3, dtype=torch.bool), torch.ones(1, 1, dtype=torch.bool)
    kept = info_nce(query, documents, *masks, Objective(temperature=0.1))
    masked = info_nce(query, documents, *masks, Objective(temperature=0.1, false_negative_margin=0.1))
    without = info_nce(query, documents[[0, 2]], torch.tensor([0]), masks[1][:, :2], masks[2], Objective(0.1))
    assert float(masked) == pytest.approx(float(without), rel=1e-6)
    assert float(kept) > float(masked) + 1


def test_matryoshka_is_the_mean_over_cut_vectors() -> None:
    queries, documents = unit(4, 1), unit(7, 2)
    masks = torch.tensor([2, 0, 5, 1]), torch.zeros(4, 7, dtype=torch.bool), torch.eye(4, dtype=torch.bool)
    objective = Objective(temperature=0.2, dimensions=(2, 5))
    found = info_nce(torch.tensor(queries), torch.tensor(documents), *masks, objective)
    losses = []
    for length in (2, 5):
        q, d = queries[:, :length], documents[:, :length]
        q, d = q / np.linalg.norm(q, axis=1, keepdims=True), d / np.linalg.norm(d, axis=1, keepdims=True)
        losses.append(cosine_loss(q, d, [2, 0, 5, 1], masks[1].numpy(), masks[2].numpy(), Objective(0.2)))
    assert float(found) == pytest.approx(sum(losses) / 2, rel=1e-9)


def test_blocked_documents_get_no_gradient() -> None:
    queries, documents = torch.tensor(unit(2, 1)), torch.tensor(unit(4, 2), requires_grad=True)
    blocked = torch.zeros(2, 4, dtype=torch.bool)
    blocked[:, 3] = True
    alike = torch.eye(2, dtype=torch.bool)
    info_nce(queries, documents, torch.tensor([0, 1]), blocked, alike, Objective(0.5)).backward()
    assert documents.grad is not None
    assert documents.grad[3].abs().sum() == 0
    assert (documents.grad[:3].abs().sum(dim=1) > 0).all()


EXAMPLES = [
    Example("Find it", "red fox", ("a fox", "A  FOX"), ("a dog", "a boat", "a stone")),
    Example("Find it", "grey stone", ("a stone",), ()),
    Example("Find it", "small boat", ("a boat",), ("a dog",)),
]


def test_a_batch_encodes_each_text_once_and_blocks_a_rows_own_positives() -> None:
    tokenizer = tokenizer_of("llama")
    contract = contract_for(tokenizer)
    for step in range(12):
        batch = token_batch(EXAMPLES, tokenizer, contract, hard_negatives=2, seed=1, step=step)
        texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in batch.rows]
        queries, documents = texts[: batch.query_count], texts[batch.query_count :]
        assert queries == [f"Instruct: Find it\nQuery: {example.query}" for example in EXAMPLES]
        assert len(set(documents)) == len(documents)
        assert batch.tokens == sum(map(len, batch.rows))
        for row, example in enumerate(EXAMPLES):
            assert documents[batch.positive_B[row]] in example.positives
            own = [" ".join(text.lower().split()) for text in example.positives]
            expected = [" ".join(text.lower().split()) in own for text in documents]
            assert batch.blocked_BM[row].tolist() == expected
        assert batch.alike_BB.tolist() == np.eye(3).astype(bool).tolist()
        # Two of the first row's three negatives, the third row's one, and three positives.
        assert {"a stone", "a boat", "a dog"} <= set(documents)


def test_hard_negatives_are_as_many_as_asked_for_and_take_turns() -> None:
    tokenizer = tokenizer_of("llama")
    contract = contract_for(tokenizer)
    none = token_batch(EXAMPLES[:1], tokenizer, contract, hard_negatives=0, seed=1, step=0)
    assert len(none.rows) == 2
    seen = set()
    for step in range(30):
        one = token_batch(EXAMPLES[:1], tokenizer, contract, hard_negatives=1, seed=1, step=step)
        assert len(one.rows) == 3
        seen.add(tokenizer.decode(one.rows[2], skip_special_tokens=True))
    assert seen == set(EXAMPLES[0].negatives)
    more = token_batch(EXAMPLES[:1], tokenizer, contract, hard_negatives=9, seed=1, step=0)
    assert len(more.rows) == 5


def test_rows_with_a_common_query_or_positive_are_alike() -> None:
    tokenizer = tokenizer_of("llama")
    rows = [
        Example("Name the mood", "red fox", ("joy",)),
        Example("Name the mood", "Red  fox", ("anger",)),
        Example("Name the mood", "boat", ("JOY", "bliss")),
    ]
    batch = token_batch(rows, tokenizer, contract_for(tokenizer), hard_negatives=0, seed=1, step=0)
    assert batch.alike_BB.tolist() == [[True, True, True], [True, True, False], [True, False, True]]


def test_the_text_that_has_title_and_rest_is_no_negative_of_the_title() -> None:
    tokenizer = tokenizer_of("llama")
    rows = [
        Example("Given a title, find the text", "Red foxes", ("live in woods",)),
        Example("Find", "who eats hens", ("a wolf",), ("red foxes: live in woods.",)),
    ]
    batch = token_batch(rows, tokenizer, contract_for(tokenizer), hard_negatives=1, seed=1, step=0)
    assert batch.blocked_BM.tolist() == [[True, False, True], [False, True, False]]


def test_texts_that_differ_in_symbols_alone_are_others() -> None:
    tokenizer = tokenizer_of("llama")
    rows = [Example("Name the mood", "red fox", ("\U0001f44d",), ("\U0001f44e",))]
    batch = token_batch(rows, tokenizer, contract_for(tokenizer), hard_negatives=1, seed=1, step=0)
    assert batch.blocked_BM.tolist() == [[True, False]]


def test_a_matryoshka_loss_in_parts_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = torch.tensor([2, 0, 5, 1]), torch.zeros(4, 7, dtype=torch.bool), torch.eye(4, dtype=torch.bool)
    vectors = torch.tensor(unit(4, 1)), torch.tensor(unit(7, 2))
    objective = Objective(temperature=0.2, dimensions=(2, 5))
    whole = info_nce(*vectors, *masks, objective)
    monkeypatch.setattr("embedloom.train.loss.SCORES", 15)
    assert float(info_nce(*vectors, *masks, objective)) == pytest.approx(float(whole), rel=1e-12)
