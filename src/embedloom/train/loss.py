"""THE loss: InfoNCE on cosine similarity (paper section 3), used on every path of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

TEMPERATURE = 0.02
"""The paper's."""


@dataclass(frozen=True, slots=True)
class Objective:
    """What counts as a negative, and how sharply. The defaults are the paper's: all other documents of the batch.

    Attributes:
        temperature: what cosines are divided by.
        query_negatives: other queries of the batch count too, as in Qwen3-Embedding.
        document_negatives: other documents count against a row's positive too, as in Qwen3-Embedding.
        false_negative_margin: a negative whose cosine is above the positive's plus this is taken for a positive that
            nobody labelled, and left out; None keeps all.
        dimensions: the loss is the mean over vectors cut to these lengths (Matryoshka, Kusupati et al. 2022); empty
            for the whole length alone.
    """

    temperature: float = TEMPERATURE
    query_negatives: bool = False
    document_negatives: bool = False
    false_negative_margin: float | None = None
    dimensions: tuple[int, ...] = ()


def info_nce(
    q_BD: Tensor, d_MD: Tensor, positive_B: Tensor, blocked_BM: Tensor, alike_BB: Tensor, objective: Objective
) -> Tensor:
    """Mean cross-entropy of each query's own positive among its negatives.

    Args:
        q_BD: unit vectors of the queries, shape (batch, dimension), float32.
        d_MD: unit vectors of the documents: every row's positive and hard negatives, shape (documents, dimension).
        positive_B: which document is the positive of each query.
        blocked_BM: True where a document must not count as a negative of a query, being one of its positives.
        alike_BB: True where two queries must not count as each other's negatives, having a text or positive in common.
        objective: what else counts.

    Returns:
        A scalar.
    """
    if not objective.dimensions:
        return _cross_entropy(q_BD, d_MD, positive_B, blocked_BM, alike_BB, objective)
    losses = [
        _cross_entropy(_cut(q_BD, length), _cut(d_MD, length), positive_B, blocked_BM, alike_BB, objective)
        for length in objective.dimensions
    ]
    return torch.stack(losses).mean()


def _cross_entropy(
    q_BD: Tensor, d_MD: Tensor, positive_B: Tensor, blocked_BM: Tensor, alike_BB: Tensor, objective: Objective
) -> Tensor:
    own_BM = functional.one_hot(positive_B, len(d_MD)).bool()
    scores = [q_BD @ d_MD.T]
    left_out = [blocked_BM & ~own_BM]
    if objective.query_negatives:
        scores.append(q_BD @ q_BD.T)
        left_out.append(alike_BB | torch.eye(len(q_BD), dtype=torch.bool, device=alike_BB.device))
    if objective.document_negatives:
        scores.append(d_MD[positive_B] @ d_MD.T)
        left_out.append(blocked_BM | own_BM)
    scores_BN, left_out_BN = torch.cat(scores, dim=1), torch.cat(left_out, dim=1)
    if objective.false_negative_margin is not None:
        ceiling_B1 = scores_BN.detach().gather(1, positive_B[:, None]) + objective.false_negative_margin
        left_out_BN = left_out_BN | (scores_BN.detach() > ceiling_B1)
    return functional.cross_entropy(
        (scores_BN / objective.temperature).masked_fill(left_out_BN, -torch.inf), positive_B
    )


def _cut(vectors_ND: Tensor, length: int) -> Tensor:
    return functional.normalize(vectors_ND[:, :length], dim=-1)
