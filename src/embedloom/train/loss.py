"""THE loss: InfoNCE on cosine similarity (paper section 3), used on every path of training; CoSENT for graded pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from torch import Tensor

TEMPERATURE = 0.02
"""The paper's."""

GRADED_TEMPERATURE = 0.05
"""CoSENT's."""

SCORES = 1 << 21
"""Scores in memory at once: 2,048 rows with 4,096 documents are computed in four parts."""


@dataclass(frozen=True, slots=True)
class Objective:
    """What counts as a negative, and how sharply. The defaults are the paper's: all other documents of the batch.

    Attributes:
        temperature: what cosines are divided by.
        query_negatives: other queries of the batch count too, as in Qwen3-Embedding.
        document_negatives: other documents count against a row's positive too, as in Qwen3-Embedding.
        false_negative_margin: a negative whose cosine is above the positive's plus this is taken for a positive that
            nobody labelled, and left out; None keeps all.
        graded_temperature: what differences of cosines are divided by in the loss of graded pairs.
        dimensions: the loss is the mean over vectors cut to these lengths (Matryoshka, Kusupati et al. 2022); empty
            for the whole length alone.
    """

    temperature: float = TEMPERATURE
    query_negatives: bool = False
    document_negatives: bool = False
    false_negative_margin: float | None = None
    dimensions: tuple[int, ...] = ()
    graded_temperature: float = GRADED_TEMPERATURE


@dataclass(frozen=True, slots=True)
class GradedPairs:
    """Rows whose pairs have scores, and those pairs.

    Attributes:
        rows_B: True for the rows, which take no part in InfoNCE as queries.
        query_P: row of each pair.
        document_P: its document.
        score_P: how similar people, or who wrote them, find the two.
        group_P: pairs are compared with those of the same group, whose scores are on one scale.
    """

    rows_B: Tensor
    query_P: Tensor
    document_P: Tensor
    score_P: Tensor
    group_P: Tensor

    def to(self, device: torch.device) -> GradedPairs:
        """The same on a device."""
        return GradedPairs(*(getattr(self, field.name).to(device) for field in fields(self)))


def batch_loss(
    q_BD: Tensor,
    d_MD: Tensor,
    positive_B: Tensor,
    blocked_BM: Tensor,
    alike_BB: Tensor,
    objective: Objective,
    graded: GradedPairs | None = None,
) -> Tensor:
    """The loss of a batch: InfoNCE, and CoSENT for the rows whose pairs are graded, each by its share of the rows.

    The documents of graded rows stay negatives of the others.

    Args: as `info_nce`.
        graded: of the rows that are graded; None where none is.
    """
    masks = positive_B, blocked_BM, alike_BB
    if graded is None:
        return info_nce(q_BD, d_MD, *masks, objective)
    ranked = cosent(q_BD, d_MD, graded, objective)
    if bool(graded.rows_B.all()):
        return ranked
    share = graded.rows_B.float().mean()
    return share * ranked + (1 - share) * info_nce(q_BD, d_MD, *masks, objective, rows_B=~graded.rows_B)


def cosent(q_BD: Tensor, d_MD: Tensor, graded: GradedPairs, objective: Objective) -> Tensor:
    """The pair with the higher score is to have the higher cosine (CoSENT, Su 2022).

    Returns:
        log(1 + the sum of exp((cosine of the lower - cosine of the higher) / temperature) over all two pairs of a group
        with different scores), the mean over the objective's dimensions.
    """
    score_P, group_P = graded.score_P, graded.group_P

    def ranked(q_BD: Tensor, d_MD: Tensor) -> Tensor:
        cosines_P = (q_BD[graded.query_P] * d_MD[graded.document_P]).sum(dim=1) / objective.graded_temperature

        def of(pairs_R: Tensor) -> Tensor:
            lower_RP = (group_P[pairs_R, None] == group_P[None, :]) & (score_P[pairs_R, None] > score_P[None, :])
            differences_RP = (cosines_P[None, :] - cosines_P[pairs_R, None]).masked_fill(~lower_RP, -torch.inf)
            return torch.logsumexp(differences_RP.flatten(), dim=0)

        parts = _in_parts(of, torch.arange(len(score_P), device=score_P.device), len(score_P))
        return torch.logsumexp(torch.stack([cosines_P.new_zeros(()), *parts]), dim=0)

    return _over_dimensions(ranked, q_BD, d_MD, objective)


def info_nce(
    q_BD: Tensor,
    d_MD: Tensor,
    positive_B: Tensor,
    blocked_BM: Tensor,
    alike_BB: Tensor,
    objective: Objective,
    *,
    rows_B: Tensor | None = None,
) -> Tensor:
    """Mean cross-entropy of each query's own positive among its negatives.

    Args:
        q_BD: unit vectors of the queries, shape (batch, dimension), float32.
        d_MD: unit vectors of the documents: every row's positive and hard negatives, shape (documents, dimension).
        positive_B: which document is the positive of each query.
        blocked_BM: True where a document must not count as a negative of a query, being one of its positives.
        alike_BB: True where two queries must not count as each other's negatives, having a text or positive in common.
        objective: what else counts.
        rows_B: which queries the mean is over; all of them by default.

    Returns:
        A scalar.
    """

    def contrasted(q_BD: Tensor, d_MD: Tensor) -> Tensor:
        return _cross_entropy(q_BD, d_MD, positive_B, blocked_BM, alike_BB, objective, rows_B)

    return _over_dimensions(contrasted, q_BD, d_MD, objective)


def _over_dimensions(
    loss_of: Callable[[Tensor, Tensor], Tensor], q_BD: Tensor, d_MD: Tensor, objective: Objective
) -> Tensor:
    """The mean loss of the vectors cut to each of the objective's dimensions; of whole vectors where it has none."""
    if not objective.dimensions:
        return loss_of(q_BD, d_MD)
    return torch.stack([loss_of(_cut(q_BD, length), _cut(d_MD, length)) for length in objective.dimensions]).mean()


def _cross_entropy(
    q_BD: Tensor,
    d_MD: Tensor,
    positive_B: Tensor,
    blocked_BM: Tensor,
    alike_BB: Tensor,
    objective: Objective,
    rows_B: Tensor | None,
) -> Tensor:
    rows_R = torch.arange(len(q_BD), device=q_BD.device) if rows_B is None else rows_B.nonzero()[:, 0]

    def of(some_R: Tensor) -> Tensor:
        logits_RN, positive_R = _logits(q_BD, d_MD, positive_B, blocked_BM, alike_BB, objective, some_R)
        summed = len(some_R) < len(rows_R)
        return functional.cross_entropy(logits_RN, positive_R, reduction="sum" if summed else "mean")

    width = len(d_MD) * (1 + objective.document_negatives) + len(q_BD) * objective.query_negatives
    parts = _in_parts(of, rows_R, width)
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum() / len(rows_R)


def _in_parts(of: Callable[[Tensor], Tensor], rows_R: Tensor, width: int) -> list[Tensor]:
    """What comes of rows with so many scores each, some of them at a time: all of a large batch are more than the graph
    of a pass."""
    parts = torch.split(rows_R, max(1, SCORES // max(1, width)))
    if len(parts) == 1:
        return [of(rows_R)]
    # Scores are made again on the way back: their product is nothing beside a pass.
    return [checkpoint(of, part, use_reentrant=False, preserve_rng_state=False) for part in parts]


def _logits(
    q_BD: Tensor,
    d_MD: Tensor,
    positive_B: Tensor,
    blocked_BM: Tensor,
    alike_BB: Tensor,
    objective: Objective,
    rows_R: Tensor,
) -> tuple[Tensor, Tensor]:
    """What the rows' softmax is over, shape (rows, all that may count), and which is the positive's."""
    q_RD, positive_R, blocked_RM = q_BD[rows_R], positive_B[rows_R], blocked_BM[rows_R]
    own_RM = torch.zeros_like(blocked_RM).scatter_(1, positive_R[:, None], True)
    scores = [q_RD @ d_MD.T]
    left_out = [blocked_RM & ~own_RM]
    if objective.query_negatives:
        scores.append(q_RD @ q_BD.T)
        left_out.append(alike_BB[rows_R].scatter(1, rows_R[:, None], True))
    if objective.document_negatives:
        scores.append(d_MD[positive_R] @ d_MD.T)
        left_out.append(blocked_RM | own_RM)
    scores_RN, left_out_RN = torch.cat(scores, dim=1), torch.cat(left_out, dim=1)
    if objective.false_negative_margin is not None:
        ceiling_R1 = scores_RN.detach().gather(1, positive_R[:, None]) + objective.false_negative_margin
        left_out_RN = left_out_RN | (scores_RN.detach() > ceiling_R1)
    return (scores_RN / objective.temperature).masked_fill(left_out_RN, -torch.inf), positive_R


def _cut(vectors_ND: Tensor, length: int) -> Tensor:
    return functional.normalize(vectors_ND[:, :length], dim=-1)
