"""A batch of training rows as the model sees it: token ids of queries and documents, and who is whose positive."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from embedloom.data.batches import choice, own_texts
from embedloom.data.words import same
from embedloom.model.inputs import InputContract, token_ids
from embedloom.train.loss import GradedPairs

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from embedloom.records import Example


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Queries first, then documents. `positive_B` and `blocked_BM` count documents from 0.

    `alike_BB` is True for two rows that have the query or a positive in common.
    """

    rows: list[list[int]]
    query_count: int
    positive_B: Tensor
    blocked_BM: Tensor
    alike_BB: Tensor
    graded: GradedPairs | None = None

    @property
    def tokens(self) -> int:
        """Tokens of all rows, without padding."""
        return sum(map(len, self.rows))


def token_batch(
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    contract: InputContract,
    *,
    hard_negatives: int,
    seed: int,
    step: int,
    graded: Collection[str] = (),
) -> TokenBatch:
    """The rows of one step: each example's query, one of its positives, and up to `hard_negatives` of its negatives.

    Which positive and which negatives is a function of (seed, step, place in the batch). A text that stands twice in
    the batch is encoded once. Rows with scores whose family is in `graded` are compared by them.
    """
    documents: dict[str, int] = {}
    positive: list[int] = []
    own: list[set[str]] = []
    pairs: list[tuple[int, int, float, int]] = []
    groups: dict[str, int] = {}
    for place, example in enumerate(examples):
        text = example.positives[choice(len(example.positives), seed=seed, step=step, row=place, what="positive")]
        positive.append(documents.setdefault(text, len(documents)))
        own.append(own_texts(example))
        if example.family in graded and example.high_score is not None:
            group = groups.setdefault(example.family, len(groups))
            pairs.append((place, positive[-1], example.high_score, group))
    rows_with_scores = {place for place, *_ in pairs}
    for place, example in enumerate(examples):
        count = len(example.negatives)
        first = choice(count, seed=seed, step=step, row=place, what="negative") if count else 0
        for offset in range(min(hard_negatives, count)):
            text = example.negatives[(first + offset) % count]
            document = documents.setdefault(text, len(documents))
            if place in rows_with_scores and example.low_score is not None:
                pairs.append((place, document, example.low_score, groups[example.family]))
    blocked_BM = _in_common(own, [{same(text)} for text in documents])
    asked = [{same(example.query)} for example in examples]
    alike_BB = _in_common(asked, asked) | _in_common(own, own)
    queries = [contract.query_text(example.query, example.instruction) for example in examples]
    texts = [contract.document_text(document) for document in documents]
    rows = token_ids([*queries, *texts], tokenizer, contract)
    return TokenBatch(rows, len(queries), torch.tensor(positive), blocked_BM, alike_BB, _graded(pairs, len(queries)))


def _in_common(left: Sequence[set[str]], right: Sequence[set[str]]) -> Tensor:
    """True where a set on the left and one on the right have a text in common, shape (left, right)."""
    places: dict[str, list[int]] = {}
    for place, texts in enumerate(right):
        for text in texts:
            places.setdefault(text, []).append(place)
    found = torch.zeros((len(left), len(right)), dtype=torch.bool)
    for place, texts in enumerate(left):
        for text in texts:
            found[place, places.get(text, [])] = True
    return found


def _graded(pairs: Sequence[tuple[int, int, float, int]], count: int) -> GradedPairs | None:
    if not pairs:
        return None
    query, document, score, group = (torch.tensor(column) for column in zip(*pairs, strict=True))
    rows_B = torch.zeros(count, dtype=torch.bool)
    rows_B[query] = True
    return GradedPairs(rows_B, query, document, score, group)
