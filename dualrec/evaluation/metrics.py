"""Metrics of each user, their means, and bootstrap intervals. Knows lists, truths and genres; not models.

A metric that does not apply to a user (a share of titles where none were written) is NaN there and left out of the mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dualrec.accuracy import hit_at, ndcg_at

CUT_OFFS = (1, 5, 10)


@dataclass(frozen=True)
class Listed:
    """One user's list under one protocol.

    Attributes:
        items: best first; None stands for a title in no catalogue.
        titles_written: items of the titles that the language model wrote, None where a title is in no catalogue; None
            for systems that write none.
        well_formed: whether the answer held as many titles as were asked for, each with its year.
    """

    items: Sequence[int | None]
    truth: Sequence[int]
    watched: Sequence[int]
    titles_written: Sequence[int | None] | None = None
    well_formed: bool = False


def user_metrics(listed: Listed, genres: dict[int, frozenset[str]]) -> dict[str, float]:
    """All metrics of one user. `genre Jaccard` compares the first item with the next movie, as published, and the best
    of the five does so with the closest of the first five items.
    """
    metrics = {f"HR@{k}": hit_at(k, listed.items, listed.truth) for k in CUT_OFFS}
    metrics |= {f"NDCG@{k}": ndcg_at(k, listed.items, listed.truth) for k in CUT_OFFS}
    following = listed.truth[0]
    similar = [jaccard(genres, item, following) for item in listed.items[:5]]
    metrics["genre Jaccard"] = similar[0] if similar else 0.0
    metrics["genre Jaccard, best of 5"] = max(similar, default=0.0)
    return metrics | _title_shares(listed)


def jaccard(genres: dict[int, frozenset[str]], one: int | None, other: int) -> float:
    """Shared genres over all genres of two items; 0 where one is unknown or neither has any."""
    a, b = genres.get(one, frozenset()) if one is not None else frozenset(), genres[other]
    return len(a & b) / len(a | b) if a | b else 0.0


def intervals(values: np.ndarray, samples: int, seed: int, level: float = 0.95) -> np.ndarray:
    """Means and percentile bootstrap bounds over users.

    Args:
        values: float64 (users, metrics); NaN where a metric does not apply.

    Returns:
        float64 (metrics, 3): mean, lower and upper bound; NaN where no user has a value.
    """
    users = len(values)
    present = ~np.isnan(values)
    filled = np.where(present, values, 0.0)
    weights = np.random.default_rng(seed).multinomial(users, np.full(users, 1 / users), samples).astype(np.float64)
    with np.errstate(invalid="ignore"):
        mean = filled.sum(0) / present.sum(0)
        resampled = (weights @ filled) / (weights @ present)
    low, high = (_quantile(resampled, q) for q in ((1 - level) / 2, (1 + level) / 2))
    return np.stack([mean, low, high], axis=1)


def _quantile(resampled: np.ndarray, q: float) -> np.ndarray:
    empty = np.isnan(resampled).all(0)
    result = np.full(resampled.shape[1], np.nan)
    if not empty.all():
        result[~empty] = np.nanquantile(resampled[:, ~empty], q, axis=0)
    return result


def _title_shares(listed: Listed) -> dict[str, float]:
    names = ("titles resolved", "titles repeated", "titles already watched")
    written = listed.titles_written
    if written is None:
        return dict.fromkeys((*names, "answers well formed"), float("nan"))
    formed = {"answers well formed": float(listed.well_formed)}
    if not written:
        return dict.fromkeys(names, float("nan")) | formed
    known = [item for item in written if item is not None]
    watched = set(listed.watched)
    shares = (len(known), len(known) - len(set(known)), sum(item in watched for item in known))
    return {name: share / len(written) for name, share in zip(names, shares, strict=True)} | formed
