"""Cross-entropy among a sample of the items, corrected for the sampling distribution.

Comes in: queries and item vectors. Goes out: losses. Knows tensors; not networks or Ray.

The sum over all items that a softmax divides by is estimated without bias from items drawn with
replacement, each weighted by one over how often it was to be expected (Bengio and Senécal 2008):
log Q is taken from its logit. A target counts exactly, and not once more where it was sampled too
(an accidental hit).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from dualrec.sequence.softmax import LogitFactors, rows_at_a_time, target_columns


@dataclass
class SampledItems:
    """The items of a batch: the sampled ones and the targets.

    Attributes:
        items: int64 (u,), columns from 0 in the catalog, ascending; the other attributes index
            these.
        columns: int64 (m,), the distinct sampled items.
        correction: float32 (m,), to be added to their logits.
        slots: int64 (u,), which of `columns` an item is; m where it was not sampled.
        targets: int64 (n, k), the next movies; an arbitrary index where there is none.
    """

    items: Tensor
    columns: Tensor
    correction: Tensor
    slots: Tensor
    targets: Tensor


SampledPiece = Callable[[Tensor, Tensor, Tensor, SampledItems, Tensor, Tensor], Tensor]


def sampling_distribution(counts: np.ndarray, power: float) -> np.ndarray:
    """Return the probability of sampling each item, float64 (N,), never 0: a power of its count.

    Args:
        counts: int64 (N,), how often each item is a target.
    """
    weights = (counts + 1.0) ** power
    return np.asarray(weights / weights.sum())


def sample_items(distribution: Tensor, count: int, targets: Tensor) -> SampledItems:
    """Sample items for a batch with replacement, by torch's random numbers.

    Args:
        distribution: float64 (N,), from `sampling_distribution`.
        targets: int64 (n, k), item numbers from 1; 0 for none.
    """
    drawn, times = torch.multinomial(distribution, count, replacement=True).unique(
        return_counts=True
    )
    items = torch.cat([drawn, targets[targets > 0] - 1]).unique()
    columns = torch.searchsorted(items, drawn)
    slots = torch.full_like(items, len(drawn))
    slots[columns] = torch.arange(len(drawn), device=drawn.device)
    correction = (times / (count * distribution[drawn])).log().float()
    return SampledItems(
        items,
        columns,
        correction,
        slots,
        torch.searchsorted(items, (targets - 1).clamp(min=int(items[0]))),
    )


def sampled_softmax(
    members: Sequence[LogitFactors], targets: Tensor, sampled: SampledItems, piece: SampledPiece
) -> Tensor:
    """Return the summed loss () of all rows, the members' mean.

    Args:
        members: with vectors and biases of `sampled.items` alone.
        targets: int64 (n, k), item numbers from 1 of the next movies, of which a member takes its
            first `future_targets`; the first is never 0.
        piece: `sampled_losses`, compiled or not.
    """
    width = max(member.future_targets * member.vectors.shape[1] for member in members)
    pieces = list(rows_at_a_time(len(targets), len(sampled.columns) + width))
    total = torch.zeros((), device=targets.device)
    for member in members:
        for rows in pieces:
            _, share = target_columns(targets[rows, : member.future_targets])
            arguments = (
                member.queries[rows],
                member.vectors,
                member.bias,
                sampled,
                sampled.targets[rows, : member.future_targets],
                share,
            )
            losses = (
                piece(*arguments)
                if len(pieces) == 1
                else checkpoint(piece, *arguments, use_reentrant=False)
            )
            total = total + losses.sum()
    return total / len(members)


def sampled_losses(
    queries: Tensor,
    vectors: Tensor,
    bias: Tensor,
    sampled: SampledItems,
    positions: Tensor,
    share: Tensor,
) -> Tensor:
    """Return losses float32 (n,) of a few rows.

    Args:
        positions: int64 (n, k), the targets among `sampled.items`.
        share: float32 (n, k), the weight of each in the row's loss; 0 where there is none.
    """
    columns = sampled.columns
    target_vectors = functional.embedding(positions, vectors)
    own = (queries.unsqueeze(1) * target_vectors).sum(-1).float() + bias[positions]
    others = (queries @ functional.embedding(columns, vectors).to(queries.dtype).T).float()
    others = others + (bias[columns] + sampled.correction)
    hit = torch.zeros(len(queries), len(columns) + 1, dtype=torch.bool, device=positions.device)
    hit.scatter_(1, torch.where(share > 0, sampled.slots[positions], len(columns)), True)
    # a movie that is a target twice counts once
    again = (positions.unsqueeze(2) == positions.unsqueeze(1)).tril(-1).any(2)
    counted = torch.cat(
        [
            own.masked_fill(again | (share == 0), -torch.inf),
            others.masked_fill(hit[:, :-1], -torch.inf),
        ],
        1,
    )
    return counted.logsumexp(1) - (own * share).sum(1)
