"""What chance leaves of a difference: bootstrap intervals, and paired tests against the best rival.
Knows arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import permutation_test

from dualrec.config.settings import EvaluationSettings

SAMPLES_AT_ONCE = 16  # resampled users are held for so many samples at a time


def intervals(values: np.ndarray, samples: int, seed: int, level: float = 0.95) -> np.ndarray:
    """Means and percentile bootstrap bounds over users.

    Args:
        values: float64 (users, metrics); NaN where a metric does not apply.

    Returns:
        float64 (metrics, 3): mean, lower and upper bound; NaN where no user has a value.
    """
    users = len(values)
    present = (~np.isnan(values)).astype(np.float64)
    filled = np.nan_to_num(values)
    random = np.random.default_rng(seed)
    resampled = []
    with np.errstate(invalid="ignore"):
        mean = filled.sum(0) / present.sum(0)
        for start in range(0, samples, SAMPLES_AT_ONCE):
            drawn = random.integers(0, users, (min(SAMPLES_AT_ONCE, samples - start), users))
            weights = np.stack([np.bincount(row, minlength=users) for row in drawn]).astype(
                np.float64
            )
            resampled.append((weights @ filled) / (weights @ present))
    low, high = (
        _quantile(np.concatenate(resampled), q) for q in ((1 - level) / 2, (1 + level) / 2)
    )
    return np.stack([mean, low, high], axis=1)


def against_best(
    values: Mapping[str, np.ndarray], rivals: list[str], metric: str, settings: EvaluationSettings
) -> dict[str, dict[str, Any]]:
    """Every system's paired difference to the best of the rivals, as metrics.json holds it.

    The interval is a bootstrap over users, p a two-sided randomisation test that swaps the two
    systems' values of a user (Smucker, Allan and Carterette 2007), and p_adjusted the same after
    Holm's correction for the number of systems.

    Args:
        values: the metric of each user, float64 (users,), the same users in the same order for
            every system.
        rivals: systems of which the one with the best mean is compared with.
    """
    rival = max(rivals, key=lambda name: float(values[name].mean()))
    compared = {name: one - values[rival] for name, one in values.items() if name != rival}
    tested = {name: _randomisation(difference, settings) for name, difference in compared.items()}
    adjusted = holm(tested)
    return {
        name: {
            "rival": rival,
            "metric": metric,
            "difference": as_interval(
                intervals(difference[:, None], settings.bootstrap_samples, settings.seed)[0]
            ),
            "p": tested[name],
            "p_adjusted": adjusted[name],
        }
        for name, difference in compared.items()
    }


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction (1979): the smallest p times the number of tests, the next times
    one less, and so on."""
    adjusted, highest = {}, 0.0
    for place, name in enumerate(sorted(p_values, key=lambda one: p_values[one])):
        highest = max(highest, min(1.0, p_values[name] * (len(p_values) - place)))
        adjusted[name] = highest
    return adjusted


def as_interval(row: np.ndarray) -> dict[str, float | None]:
    """A row of `intervals` as metrics.json holds it, None for NaN."""
    return {
        key: None if np.isnan(value) else float(value)
        for key, value in zip(("value", "low", "high"), row, strict=True)
    }


def _randomisation(difference: np.ndarray, settings: EvaluationSettings) -> float:
    told_apart = difference[difference != 0]
    if len(told_apart) < 2:
        return 1.0
    test = permutation_test(
        (told_apart,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=settings.permutations,
        batch=64,
        rng=np.random.default_rng(settings.seed),
    )
    return float(test.pvalue)


def _quantile(resampled: np.ndarray, q: float) -> np.ndarray:
    empty = np.isnan(resampled).all(0)
    result = np.full(resampled.shape[1], np.nan)
    if not empty.all():
        result[~empty] = np.nanquantile(resampled[:, ~empty], q, axis=0)
    return result
