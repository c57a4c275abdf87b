"""Graphs of items for graph networks: of one session, and of all histories.

Comes in: item numbers. Goes out: masks over the positions of a session, and each item's heaviest
neighbours over all histories. Knows no networks or users.

An item that comes back in a session is one node: its first position holds it and the others refer
to it, so that the graphs of a batch of sessions are masks over positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

LEAKY_SLOPE = 0.2  # of every leaky ReLU of both networks


@dataclass(frozen=True)
class SessionNodes:
    """Which positions of each session hold which node.

    Attributes:
        real: bool (n, length), positions that are no padding.
        same: bool (n, length, length), pairs of real positions that hold the same item.
        first: bool (n, length), the first position of each item: one for each node.
    """

    real: Tensor
    same: Tensor
    first: Tensor


def session_nodes(inputs: Tensor, size: Tensor) -> SessionNodes:
    """Return the nodes of sessions that are padded at the end.

    Args:
        inputs: int64 (n, length), item numbers; any number may be a real one, the padding's too.
        size: int64 (n,), how many inputs each row has.
    """
    real = torch.arange(inputs.shape[1]) < size[:, None]
    same = (inputs[:, :, None] == inputs[:, None, :]) & real[:, :, None] & real[:, None, :]
    return SessionNodes(real, same, real & ~same.tril(-1).any(2))


def global_graph(
    histories: Sequence[np.ndarray], items: int, max_gap: int, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Count item pairs at most `max_gap` positions apart; keep the `most` frequent of each item
    (GCE-GNN, Wang et al. 2020).

    Args:
        histories: item numbers int64 from 1, oldest first.
        items: the number of items.
        max_gap: the paper's epsilon.
        most: the paper's N, neighbours of an item.

    Returns:
        The neighbours int64 (items + 1, most), heaviest first, ties to the smaller number, and
        their weights float32. A weight is the pair's count as a share of all that the item keeps:
        counts themselves run to thousands for popular items. Row 0 belongs to no item. Where
        there is no further neighbour, both are 0.
    """
    pairs = [np.zeros(0, np.int64)]
    for numbers in histories:
        for gap in range(1, min(max_gap, len(numbers) - 1) + 1):
            low, high = (
                np.minimum(numbers[:-gap], numbers[gap:]),
                np.maximum(numbers[:-gap], numbers[gap:]),
            )
            pairs.append((low * (items + 1) + high)[low < high])
    pair, count = np.unique(np.concatenate(pairs), return_counts=True)
    low, high = np.divmod(pair, items + 1)
    item, other, count = np.concatenate([low, high]), np.concatenate([high, low]), np.tile(count, 2)
    order = np.lexsort((other, -count, item))
    item, other, count = item[order], other[order], count[order]
    rank = np.arange(len(item)) - np.searchsorted(item, item)
    heaviest = rank < most
    neighbours = np.zeros((items + 1, most), np.int64)
    weights = np.zeros((items + 1, most), np.float32)
    neighbours[item[heaviest], rank[heaviest]] = other[heaviest]
    weights[item[heaviest], rank[heaviest]] = count[heaviest]
    return neighbours, weights / np.maximum(weights.sum(1, keepdims=True), 1)
