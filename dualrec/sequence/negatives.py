"""Cross-entropy among a sample of the items, corrected for how they were drawn. Knows tensors; not
networks or Ray.

The sum over all items that a softmax divides by is estimated without bias from items drawn with
replacement, each weighted by one over how often it was to be expected (Bengio and Senécal 2008):
log Q is taken from its logit. A movie that is wanted counts itself, exactly, and not once more
where it was drawn too (an accidental hit).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from dualrec.sequence.softmax import Scored, place_and_share, rows_at_a_time


@dataclass
class Drawn:
    """The items of a batch: those that were drawn and those that are wanted.

    Attributes:
        items: int64 (u,), places from 0 in the catalog, ascending; what follows are places among
            these.
        columns: int64 (m,), the distinct items that were drawn.
        correction: float32 (m,), to be added to their logits.
        slots: int64 (u,), which of `columns` an item is; m where it was not drawn.
        wanted: int64 (n, k), the wanted movies; any place where there is none.
    """

    items: Tensor
    columns: Tensor
    correction: Tensor
    slots: Tensor
    wanted: Tensor


SampledPiece = Callable[[Tensor, Tensor, Tensor, Drawn, Tensor, Tensor], Tensor]


def chances(counts: np.ndarray, power: float) -> np.ndarray:
    """How likely each item is to be drawn, float64 (N,), by a power of how often it was watched;
    never 0."""
    weights = (counts + 1.0) ** power
    return np.asarray(weights / weights.sum())


def draw(chance: Tensor, count: int, wanted: Tensor) -> Drawn:
    """Draw items for a batch, with replacement, by torch's random numbers.

    Args:
        chance: float64 (N,), as from `chances`.
        wanted: int64 (n, k), item numbers from 1; 0 stands for none.
    """
    drawn, times = torch.multinomial(chance, count, replacement=True).unique(return_counts=True)
    items = torch.cat([drawn, wanted[wanted > 0] - 1]).unique()
    columns = torch.searchsorted(items, drawn)
    slots = torch.full_like(items, len(drawn))
    slots[columns] = torch.arange(len(drawn), device=drawn.device)
    correction = (times / (count * chance[drawn])).log().float()
    return Drawn(
        items,
        columns,
        correction,
        slots,
        torch.searchsorted(items, (wanted - 1).clamp(min=int(items[0]))),
    )


def sampled_softmax(
    each: Sequence[Scored], wanted: Tensor, drawn: Drawn, piece: SampledPiece
) -> Tensor:
    """The summed loss () of all rows, the networks' mean.

    Args:
        each: with vectors and biases of `drawn.items` alone.
        wanted: int64 (n, k), item numbers from 1, of which a network takes its first `ahead`; the
            first is there.
        piece: `sampled_losses`, or what torch.compile made of it.
    """
    width = max(one.ahead * one.vectors.shape[1] for one in each)
    pieces = list(rows_at_a_time(len(wanted), len(drawn.columns) + width))
    total = torch.zeros((), device=wanted.device)
    for one in each:
        for rows in pieces:
            _, share = place_and_share(wanted[rows, : one.ahead])
            given = (
                one.queries[rows],
                one.vectors,
                one.bias,
                drawn,
                drawn.wanted[rows, : one.ahead],
                share,
            )
            losses = (
                piece(*given)
                if len(pieces) == 1
                else checkpoint(piece, *given, use_reentrant=False)
            )
            total = total + losses.sum()
    return total / len(each)


def sampled_losses(
    queries: Tensor, vectors: Tensor, bias: Tensor, drawn: Drawn, place: Tensor, share: Tensor
) -> Tensor:
    """Losses float32 (n,) of a few rows.

    Args:
        place: int64 (n, k), the wanted movies among `drawn.items`.
        share: float32 (n, k), the weight of each in the row's loss; 0 where there is none.
    """
    columns = drawn.columns
    wanted_vectors = functional.embedding(place, vectors)
    own = (queries.unsqueeze(1) * wanted_vectors).sum(-1).float() + bias[place]
    others = (queries @ functional.embedding(columns, vectors).to(queries.dtype).T).float()
    others = others + (bias[columns] + drawn.correction)
    hit = torch.zeros(len(queries), len(columns) + 1, dtype=torch.bool, device=place.device)
    hit.scatter_(1, torch.where(share > 0, drawn.slots[place], len(columns)), True)
    again = (
        (place.unsqueeze(2) == place.unsqueeze(1)).tril(-1).any(2)
    )  # a movie that is wanted twice counts once
    counted = torch.cat(
        [
            own.masked_fill(again | (share == 0), -torch.inf),
            others.masked_fill(hit[:, :-1], -torch.inf),
        ],
        1,
    )
    return counted.logsumexp(1) - (own * share).sum(1)
