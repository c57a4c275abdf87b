"""The graph of items that stand near each other in many histories. Knows item numbers; not networks
or users.

In come histories, out comes for each item a fixed number of its heaviest neighbours, as arrays that
can be looked up.
"""

from collections.abc import Sequence

import numpy as np


def global_graph(
    histories: Sequence[np.ndarray], items: int, reach: int, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Item pairs within `reach` places of each other, the `most` most frequent of each item
    (GCE-GNN).

    Args:
        histories: item numbers int64 from 1, oldest first.
        items: how many items there are.
        reach: the paper's epsilon.
        most: the paper's N: neighbours that are kept.

    Returns:
        The neighbours int64 (items + 1, most), heaviest first, ties to the smaller number, and
        their weights float32. A weight is the pair's count as a share of all that the item keeps:
        counts themselves run to thousands for popular items. Row 0 belongs to no item. Places
        without a neighbour hold 0 and weigh 0.
    """
    pairs = [np.zeros(0, np.int64)]
    for numbers in histories:
        for gap in range(1, min(reach, len(numbers) - 1) + 1):
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
    kept = rank < most
    neighbours = np.zeros((items + 1, most), np.int64)
    weights = np.zeros((items + 1, most), np.float32)
    neighbours[item[kept], rank[kept]] = other[kept]
    weights[item[kept], rank[kept]] = count[kept]
    return neighbours, weights / np.maximum(weights.sum(1, keepdims=True), 1)
