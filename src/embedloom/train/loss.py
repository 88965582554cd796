"""THE loss: InfoNCE on cosine similarity (paper section 3), used on every path of training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

TEMPERATURE = 0.02
"""The paper's."""


def info_nce(
    q_BD: Tensor, d_MD: Tensor, positive_B: Tensor, blocked_BM: Tensor, *, temperature: float = TEMPERATURE
) -> Tensor:
    """Mean cross-entropy of each query's own positive among all documents of the batch.

    Args:
        q_BD: unit vectors of the queries, shape (batch, dimension), float32.
        d_MD: unit vectors of the documents: every row's positive and hard negatives, shape (documents, dimension).
        positive_B: which document is the positive of each query.
        blocked_BM: True where a document must not count as a negative of a query, being one of its positives.
        temperature: what cosines are divided by.

    Returns:
        A scalar.
    """
    scores_BM = q_BD @ d_MD.T / temperature
    own_BM = torch.zeros_like(blocked_BM)
    own_BM[torch.arange(len(positive_B), device=own_BM.device), positive_B] = True
    scores_BM = scores_BM.masked_fill(blocked_BM & ~own_BM, float("-inf"))
    return functional.cross_entropy(scores_BM, positive_B)
