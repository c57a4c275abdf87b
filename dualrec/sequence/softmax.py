"""Cross-entropy among all items, in pieces of positions. Knows tensors; not networks, users or Ray.

3,200 targets among 87,585 items have 1.1 GB of logits, and a plain softmax keeps as much again for
its gradient, of every network. Here logits live for one piece of the targets: its gradient is taken
at once and only the sums are kept, so that nothing is computed twice (as in Hsu et al. 2024, Liger,
and Wijmans et al. 2025, Cut Your Losses).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MOST_LOGITS = 2**24  # of one network computed at a time, 64 MiB: 191 targets among 87,585 items


@dataclass
class Scored:
    """What one network scores items by: the logit of item i in row r is queries[r] @ vectors[i] +
    bias[i].

    Attributes:
        queries: float32 or bfloat16 (n, width); its type is that of the products.
        vectors: float32 (N, width).
        bias: float32 (N,).
        ahead: how many of the next movies it is to foresee.
    """

    queries: Tensor
    vectors: Tensor
    bias: Tensor
    ahead: int


Piece = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def full_softmax(each: Sequence[Scored], wanted: Tensor, piece: Piece) -> tuple[Tensor, Tensor]:
    """The summed loss of all rows, the networks' mean, and what to report.

    Args:
        wanted: int64 (n, k), item numbers from 1 of the next movies, of which a network takes its
            first `ahead`; the
            first is there, 0 stands for none.
        piece: `losses_and_probabilities`, or what torch.compile made of it.

    Returns:
        loss (), which may be differentiated once, and float64 (2,): how many of the next movies had
        the highest mean probability, and one of the five highest.
    """
    tensors = [tensor for one in each for tensor in (one.queries, one.vectors, one.bias)]
    aheads = tuple(one.ahead for one in each)
    loss, hits = _FullSoftmax.apply(wanted, aheads, piece, torch.is_grad_enabled(), *tensors)
    return loss, hits


def losses_and_probabilities(
    queries: Tensor, vectors: Tensor, bias: Tensor, place: Tensor, share: Tensor
) -> tuple[Tensor, Tensor]:
    """Losses float32 (n,) and probabilities float32 (n, N) of a few rows.

    Args:
        vectors: of the type of `queries`.
        place: int64 (n, k), columns of the wanted movies.
        share: float32 (n, k), the weight of each in the row's loss; 0 where there is none.
    """
    if queries.dtype == bias.dtype:
        logits = torch.addmm(bias, queries, vectors.T)
    else:
        logits = (queries @ vectors.T).float() + bias
    likely = logits.log_softmax(-1)
    return -(likely.gather(1, place) * share).sum(1), likely.exp()


def place_and_share(wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Columns int64 (n, k) of wanted movies, and the weight float32 (n, k) of each: equal, 0 where
    there is none."""
    there = (wanted > 0).float()
    return (wanted - 1).clamp(min=0), there / there.sum(1, keepdim=True)


def rows_at_a_time(rows: int, columns: int) -> Iterable[slice]:
    """Pieces of the rows, each with at most MOST_LOGITS values."""
    size = max(MOST_LOGITS // columns, 1)
    return [slice(start, start + size) for start in range(0, rows, size)]


class _FullSoftmax(torch.autograd.Function):
    """The loss, whose gradient is taken while the logits of a piece are there."""

    @staticmethod
    def forward(
        ctx: Any,
        wanted: Tensor,
        aheads: tuple[int, ...],
        piece: Piece,
        learns: bool,
        *tensors: Tensor,
    ) -> tuple[Tensor, Tensor]:
        each = [
            Scored(*of_one)
            for of_one in zip(tensors[::3], tensors[1::3], tensors[2::3], aheads, strict=True)
        ]
        rounded = [one.vectors.to(one.queries.dtype) for one in each]
        sums = [
            [torch.zeros_like(one) for one in tensors[start : start + 3]]
            for start in range(0, len(tensors), 3)
        ]
        losses, hits = [], torch.zeros(2, dtype=torch.float64, device=wanted.device)
        for rows in rows_at_a_time(len(wanted), len(each[0].bias)):
            total, found = 0.0, []
            for one, vectors, gradients in zip(each, rounded, sums, strict=True):
                place, share = place_and_share(wanted[rows, : one.ahead])
                queries = one.queries[rows]
                loss, probabilities = piece(queries, vectors, one.bias, place, share)
                found.append(loss)
                total = total + probabilities
                if learns:
                    slopes = probabilities.scatter_add_(1, place, -share).to(queries.dtype)
                    gradients[0][rows] = slopes @ vectors
                    _add_product(gradients[1], slopes.T, queries)
                    gradients[2] += slopes.sum(0)
            losses.append(torch.stack(found).mean(0))
            hits += _hits(total, wanted[rows, :1] - 1)
        ctx.gradients = (
            [gradient for gradients in sums for gradient in gradients] if learns else None
        )
        ctx.mark_non_differentiable(hits)
        return torch.cat(losses).sum(), hits

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None  # scaled in place, so that they serve once
        factor = outer[0] / (len(gradients) // 3)
        return None, None, None, None, *(gradient.mul_(factor) for gradient in gradients)


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add a product to a float32 total, with no other tensor where the types agree."""
    if right.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


def _hits(probabilities: Tensor, place: Tensor) -> Tensor:
    """How many places (n, 1) are the likeliest of their row, and among the five likeliest."""
    best = probabilities.topk(min(5, probabilities.shape[1]), dim=-1).indices == place
    return torch.stack([best[:, 0].sum(), best.sum()])
