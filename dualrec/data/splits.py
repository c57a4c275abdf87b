"""Which users train the models, which choose their settings, and which are left for the test."""

import numpy as np

from dualrec.config.settings import DataSettings

SPLITS = ("train", "validation", "test")


def split_of(user_ids: np.ndarray, settings: DataSettings) -> np.ndarray:
    """The split of each user, by a seeded hash of its id: a user keeps its split when the data
    grows.

    Args:
        user_ids: int64 (n,).

    Returns:
        str (n,): train, validation or test.
    """
    place = hashed(user_ids, settings.seed).astype(np.float64) / 2.0**64
    bounds = [settings.train_fraction, settings.train_fraction + settings.validation_fraction]
    return np.array(SPLITS)[np.searchsorted(bounds, place, side="right")]


def hashed(values: np.ndarray, seed: int) -> np.ndarray:
    """SplitMix64 (Steele et al., OOPSLA 2014) of each value: uint64 (n,)."""
    with np.errstate(over="ignore"):
        mixed = values.astype(np.int64).view(np.uint64) + np.uint64(seed + 1) * np.uint64(
            0x9E3779B97F4A7C15
        )
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(mixed ^ (mixed >> np.uint64(31)))
