"""Metrics of many lists at once, a value a user. Knows arrays of item numbers and genres; not
systems or tables.

Lists hold item numbers from 1, best first. 0 stands for no item, -1 for a title that is in no
catalog: neither hits, and each takes its place. A metric that does not apply to a user is NaN there
and left out of the mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dualrec.sequence.features import genre_matrix

CUT_OFFS = (1, 5, 10, 20)
LENGTH = max(CUT_OFFS)
BEYOND = 10  # places of a list that the metrics beyond accuracy look at


@dataclass(frozen=True)
class ItemFacts:
    """What the metrics know of the N items, each with a row 0 of nothing in front.

    Attributes:
        genres: float32 (N + 1, G), 1 where the item has the genre.
        popularity: float64 (N + 1,), the share of training users who watched it.
    """

    genres: np.ndarray
    popularity: np.ndarray


def item_facts(catalog: pa.Table, training_users: int) -> ItemFacts:
    """Facts of a catalog (schema CATALOG, ordered by item_id)."""
    popularity = catalog.column("popularity").to_numpy().astype(np.float64) / max(training_users, 1)
    return ItemFacts(genre_matrix(catalog), np.concatenate([[0.0], popularity]))


def user_metrics(
    lists: np.ndarray, truth: Sequence[np.ndarray], visible: Sequence[np.ndarray], facts: ItemFacts
) -> dict[str, np.ndarray]:
    """Every metric of every user: name to float64 (n,).

    HR@k is 1 where any of the first k is true. NDCG@k is the standard one over the ideal list
    (Järvelin and Kekäläinen
    2002), MRR@k the reciprocal rank of the first true item among the first k. `genre Jaccard`
    compares the first item with the next movie, as published; the best of the five does so with the
    closest of the first five.
    `novelty` is the mean of -log2 of the share of users who watched an item (Vargas and Castells
    2011), `popularity lift` the list's mean popularity over the history's, less 1 (Abdollahpouri et
    al. 2019), `diversity` the mean genre distance of two items of the list (Ziegler et al. 2005).

    Args:
        lists: int32 (n, LENGTH).
        truth: hidden item numbers of each user, oldest first, one at least.
        visible: item numbers of each history.
    """
    hits = _hits(lists, truth)
    sizes = np.array([len(numbers) for numbers in truth])
    metrics = _accuracy(hits, sizes)
    following = np.array([numbers[0] for numbers in truth])
    similar = jaccard(facts.genres[np.maximum(lists[:, :5], 0)], facts.genres[following][:, None])
    metrics["genre Jaccard"] = similar[:, 0]
    metrics["genre Jaccard, best of 5"] = similar.max(1)
    return metrics | _beyond_accuracy(lists[:, :BEYOND], visible, facts)


def coverage(lists: np.ndarray, items: int) -> float:
    """The share of the catalog that stands in anyone's first places."""
    return len(np.setdiff1d(lists[:, :BEYOND], [0, -1])) / items


def jaccard(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Shared genres over all genres along the last axis; 0 where neither has any."""
    return _overlap((one * other).sum(-1), one.sum(-1), other.sum(-1))


def _overlap(shared: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    together = one + other - shared
    return np.divide(shared, together, out=np.zeros(shared.shape), where=together > 0)


def _hits(lists: np.ndarray, truth: Sequence[np.ndarray]) -> np.ndarray:
    """Which places hold a true item, bool (n, length)."""
    span = max(int(lists.max(initial=0)), max(int(numbers.max()) for numbers in truth)) + 1
    keys = np.repeat(
        np.arange(len(truth)), [len(numbers) for numbers in truth]
    ) * span + np.concatenate(list(truth))
    places = np.arange(len(lists))[:, None] * span + np.maximum(lists, 0)
    return np.isin(places, keys) & (lists > 0)


def _accuracy(hits: np.ndarray, truths: np.ndarray) -> dict[str, np.ndarray]:
    gains = 1 / np.log2(np.arange(LENGTH) + 2)
    ideal = np.concatenate([[0.0], np.cumsum(gains)])
    first = np.where(hits.any(1), hits.argmax(1), LENGTH)
    metrics = {}
    for k in CUT_OFFS:
        metrics[f"HR@{k}"] = (first < k).astype(np.float64)
        metrics[f"NDCG@{k}"] = (hits[:, :k] * gains[:k]).sum(1) / ideal[np.minimum(truths, k)]
        metrics[f"MRR@{k}"] = np.where(first < k, 1 / (first + 1), 0.0)
    return metrics


def _beyond_accuracy(
    lists: np.ndarray, visible: Sequence[np.ndarray], facts: ItemFacts
) -> dict[str, np.ndarray]:
    present = lists > 0
    numbers = np.maximum(lists, 0)
    popularity = facts.popularity[numbers]
    rarest = 1 / (
        1 / facts.popularity[facts.popularity > 0].min(initial=1.0) + 1
    )  # for what nobody has watched
    one, other = np.triu_indices(lists.shape[1], 1)
    genres = facts.genres[numbers] * present[..., None]
    pairs = _overlap(
        (genres @ genres.transpose(0, 2, 1))[:, one, other],
        *(genres.sum(-1)[:, side] for side in (one, other)),
    )
    return {
        f"novelty@{BEYOND}": _mean(-np.log2(np.maximum(popularity, rarest)), present),
        f"popularity lift@{BEYOND}": _mean(popularity, present)
        / _mean_of_each(facts.popularity, visible)
        - 1,
        f"diversity@{BEYOND}": _mean(1 - pairs, present[:, one] & present[:, other]),
    }


def _mean_of_each(values: np.ndarray, numbers: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of the values of each one's item numbers, float64 (n,); NaN where there are none."""
    sizes = np.array([len(one) for one in numbers])
    owners = np.repeat(np.arange(len(numbers)), sizes)
    sums = np.bincount(
        owners, values[np.concatenate([*numbers, np.zeros(0, np.int64)])], len(numbers)
    )
    return np.divide(sums, sizes, out=np.full(len(numbers), np.nan), where=sizes > 0)


def _mean(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Means along rows over what is present; NaN where nothing is."""
    counts = present.sum(1)
    means = np.full(len(values), np.nan)
    return np.divide((values * present).sum(1), counts, out=means, where=counts > 0)
