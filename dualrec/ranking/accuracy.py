"""Hit rate and NDCG of one list against the movies it should have held. Knows lists of item ids
only."""

from collections.abc import Collection, Sequence
from math import log2


def hit_at(k: int, recommended: Sequence[int | None], truth: Collection[int]) -> float:
    """1.0 if any of the first k items is among the true ones, else 0.0. None never hits."""
    return float(any(item in truth for item in recommended[:k] if item is not None))


def ndcg_at(k: int, recommended: Sequence[int | None], truth: Collection[int]) -> float:
    """Normalised discounted cumulative gain (Järvelin and Kekäläinen 2002) with gain 1 for each
    true item.

    The ideal list holds min(k, number of true items) of them first. With one true item it is 1 /
    log2(rank + 1).
    """
    gain = sum(
        1 / log2(rank + 1) for rank, item in enumerate(recommended[:k], start=1) if item in truth
    )
    ideal = sum(1 / log2(rank + 1) for rank in range(1, min(k, len(truth)) + 1))
    return gain / ideal if ideal else 0.0
