"""Cross-entropy among all items, a piece of the targets at a time.

Comes in: queries and item vectors. Goes out: a loss with its gradients, and hits. Knows tensors;
not networks, users or Ray.

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
class LogitFactors:
    """The factors of one member's logits: item i in row r has queries[r] @ vectors[i] + bias[i].

    Attributes:
        queries: float32 or bfloat16 (n, width); its type is that of the products.
        vectors: float32 (N, width).
        bias: float32 (N,).
        future_targets: how many of the next movies it is trained to predict.
    """

    queries: Tensor
    vectors: Tensor
    bias: Tensor
    future_targets: int


Piece = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def full_softmax(
    members: Sequence[LogitFactors], targets: Tensor, piece: Piece
) -> tuple[Tensor, Tensor]:
    """Return the summed loss of all rows, the members' mean, and the hits to report.

    Args:
        targets: int64 (n, k), item numbers from 1 of the next movies, of which a member takes its
            first `future_targets`; the first is never 0, later ones are 0 where there is none.
        piece: `losses_and_probabilities`, compiled or not.

    Returns:
        loss (), which may be differentiated once, and float64 (2,): how many of the next movies had
        the highest mean probability, and one of the five highest.
    """
    tensors = [
        tensor for member in members for tensor in (member.queries, member.vectors, member.bias)
    ]
    counts = tuple(member.future_targets for member in members)
    loss, hits = _FullSoftmax.apply(targets, counts, piece, torch.is_grad_enabled(), *tensors)
    return loss, hits


def losses_and_probabilities(
    queries: Tensor, vectors: Tensor, bias: Tensor, columns: Tensor, share: Tensor
) -> tuple[Tensor, Tensor]:
    """Return losses float32 (n,) and probabilities float32 (n, N) of a few rows.

    Args:
        vectors: of the type of `queries`.
        columns: int64 (n, k), of the targets.
        share: float32 (n, k), the weight of each in the row's loss; 0 where there is none.
    """
    if queries.dtype == bias.dtype:
        logits = torch.addmm(bias, queries, vectors.T)
    else:
        logits = (queries @ vectors.T).float() + bias
    log_probabilities = logits.log_softmax(-1)
    losses = -(log_probabilities.gather(1, columns) * share).sum(1)
    return losses, log_probabilities.exp()


def target_columns(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the columns int64 (n, k) of targets, and the weight float32 (n, k) of each: equal, 0
    where there is none."""
    present = (targets > 0).float()
    return (targets - 1).clamp(min=0), present / present.sum(1, keepdim=True)


def rows_at_a_time(rows: int, columns: int) -> Iterable[slice]:
    """Return slices of the rows, each with at most MOST_LOGITS values."""
    size = max(MOST_LOGITS // columns, 1)
    return [slice(start, start + size) for start in range(0, rows, size)]


class _FullSoftmax(torch.autograd.Function):
    """The loss, whose gradient is computed while a piece's logits are in memory."""

    @staticmethod
    def forward(
        ctx: Any,
        targets: Tensor,
        future_targets: tuple[int, ...],
        piece: Piece,
        needs_gradient: bool,
        *tensors: Tensor,
    ) -> tuple[Tensor, Tensor]:
        factors = zip(tensors[::3], tensors[1::3], tensors[2::3], future_targets, strict=True)
        members = [LogitFactors(*member) for member in factors]
        rounded = [member.vectors.to(member.queries.dtype) for member in members]
        sums = [
            [torch.zeros_like(tensor) for tensor in (member.queries, member.vectors, member.bias)]
            for member in members
        ]
        losses, hits = [], torch.zeros(2, dtype=torch.float64, device=targets.device)
        for rows in rows_at_a_time(len(targets), len(members[0].bias)):
            total, member_losses = 0.0, []
            for member, vectors, gradients in zip(members, rounded, sums, strict=True):
                columns, share = target_columns(targets[rows, : member.future_targets])
                queries = member.queries[rows]
                loss, probabilities = piece(queries, vectors, member.bias, columns, share)
                member_losses.append(loss)
                total = total + probabilities
                if needs_gradient:
                    slopes = probabilities.scatter_add_(1, columns, -share).to(queries.dtype)
                    gradients[0][rows] = slopes @ vectors
                    _add_product(gradients[1], slopes.T, queries)
                    gradients[2] += slopes.sum(0)
            losses.append(torch.stack(member_losses).mean(0))
            hits += _hits(total, targets[rows, :1] - 1)
        ctx.gradients = (
            [gradient for gradients in sums for gradient in gradients] if needs_gradient else None
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


def _hits(probabilities: Tensor, columns: Tensor) -> Tensor:
    """Count the columns (n, 1) that are the likeliest of their row, and of its five likeliest."""
    best = probabilities.topk(min(5, probabilities.shape[1]), dim=-1).indices == columns
    return torch.stack([best[:, 0].sum(), best.sum()])
