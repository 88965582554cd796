"""InfoNCE against the formula written out in NumPy, and which documents count as negatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from embedloom.model.inputs import contract_for
from embedloom.records import Example
from embedloom.train.loss import info_nce
from embedloom.train.rows import token_batch
from tiny import tokenizer_of


def unit(rows: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, 5))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.02, 1.0])
def test_loss_is_the_papers_formula(temperature: float) -> None:
    queries, documents = unit(4, 1), unit(7, 2)
    positive = [2, 0, 5, 2]
    blocked = np.zeros((4, 7), dtype=bool)
    blocked[0, 3] = blocked[2, [0, 1]] = True
    blocked[1, 0] = True  # its own positive: the mask must not take it away
    total = 0.0
    for row in range(4):
        scores = np.exp(documents @ queries[row] / temperature)
        allowed = [d for d in range(7) if d == positive[row] or not blocked[row, d]]
        total -= np.log(scores[positive[row]] / scores[allowed].sum())
    found = info_nce(
        torch.tensor(queries), torch.tensor(documents), torch.tensor(positive), torch.tensor(blocked),
        temperature=temperature,
    )  # fmt: skip
    assert float(found) == pytest.approx(total / 4, rel=1e-9)


def test_blocked_documents_get_no_gradient() -> None:
    queries, documents = torch.tensor(unit(2, 1)), torch.tensor(unit(4, 2), requires_grad=True)
    blocked = torch.zeros(2, 4, dtype=torch.bool)
    blocked[:, 3] = True
    info_nce(queries, documents, torch.tensor([0, 1]), blocked, temperature=0.5).backward()
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
