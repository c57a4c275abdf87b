"""How many ratings each user has, and which users are made together. Knows numbers of ratings only."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from dualrec.errors import InputError

MINIMUM = 20  # ML-32M: "All selected users had rated at least 20 movies"
# of the logarithm of the ratings above the minimum: the log-normal nearest to the quartiles and the
# 99th percentile of ML-32M
SPREAD = 1.35
MOST_OF_CATALOG = 0.6  # the heaviest user of ML-1M rated 62 % of its movies
CHUNK_RATINGS = 250_000  # made at a time: some 100 MB of arrays


@dataclass(frozen=True)
class Shape:
    """The size of a data set: so many ratings of so many movies by so many users, one of them of a
    given size if set."""

    ratings: int
    users: int
    movies: int
    heaviest: int | None = None


def check_shape(shape: Shape) -> None:
    """Raise an InputError unless every user can have its 20 ratings, no movie twice but for the
    heaviest user."""
    if min(shape.ratings, shape.users, shape.movies) < 1:
        raise InputError(f"--ratings, --users and --movies should be 1 or more, found {shape}")
    if shape.movies < MINIMUM:
        raise InputError(
            f"--movies {shape.movies}: a user rates {MINIMUM} movies at least; give that many or more"
        )
    if shape.heaviest is not None and shape.heaviest < MINIMUM:
        raise InputError(f"--heaviest {shape.heaviest}: a user has {MINIMUM} ratings at least")
    ratings, users = _of_the_others(shape)
    if ratings < MINIMUM * users:
        raise InputError(
            f"{ratings:,} ratings are left for {users:,} users who have {MINIMUM} at least: give --ratings "
            f"{shape.ratings - ratings + MINIMUM * users} or more, fewer --users, or a smaller --heaviest"
        )
    if ratings > users * _ceiling(shape):
        raise InputError(
            f"{ratings:,} ratings by {users:,} users are more than each rating {_ceiling(shape):,} movies once: give "
            "fewer --ratings, or more --users, --movies or a larger --heaviest"
        )


def make_counts(shape: Shape, random: np.random.Generator) -> np.ndarray:
    """The number of ratings of each user, int64 (users,), whose sum is `shape.ratings`.

    The quantiles of a log-normal distribution in random order, so that the tail is the same for
    every seed.

    Raises:
        InputError: no such numbers exist.
    """
    check_shape(shape)
    ratings, users = _of_the_others(shape)
    excess = np.exp(SPREAD * ndtri((np.arange(users) + 0.5) / users)) if users else np.empty(0)
    counts = MINIMUM + _shared(ratings - MINIMUM * users, excess, _ceiling(shape) - MINIMUM)
    if shape.heaviest is not None:
        counts = np.append(counts, shape.heaviest)
    return np.asarray(random.permutation(counts))


def cut_chunks(counts: np.ndarray) -> list[tuple[int, int]]:
    """Ranges of users, (first, after the last), of about CHUNK_RATINGS ratings each; fewer where
    all are few.

    They depend on nothing but the numbers of ratings, since each range has a random generator of
    its own.
    """
    size = np.clip(counts.sum() // 64, 5_000, CHUNK_RATINGS)
    starts = np.flatnonzero(np.diff((np.cumsum(counts) - counts) // size, prepend=-1))
    return list(zip(starts.tolist(), [*starts[1:].tolist(), len(counts)], strict=True))


def _of_the_others(shape: Shape) -> tuple[int, int]:
    if shape.heaviest is None:
        return shape.ratings, shape.users
    return shape.ratings - shape.heaviest, shape.users - 1


def _ceiling(shape: Shape) -> int:
    """The most ratings of a user whose number is not given."""
    ratings, users = _of_the_others(shape)
    dense = -(-2 * ratings // max(users, 1))
    ceiling = min(max(round(MOST_OF_CATALOG * shape.movies), dense, MINIMUM), shape.movies)
    return ceiling if shape.heaviest is None else min(ceiling, shape.heaviest)


def _shared(total: int, weights: np.ndarray, ceiling: int) -> np.ndarray:
    """Whole numbers of the given total, as near to a multiple of the weights as the ceiling lets
    them be."""
    if not len(weights):
        return np.zeros(0, np.int64)
    low, high = 0.0, (total + 1) / weights.min()
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if _floors(middle * weights, ceiling).sum() <= total else (low, middle)
        )
    shares = _floors(low * weights, ceiling)
    free = np.flatnonzero(shares < ceiling)
    left = total - int(shares.sum())
    fractions = (low * weights)[free] % 1
    shares[free[np.argsort(-fractions, kind="stable")[:left]]] += 1
    assert shares.sum() == total
    return shares


def _floors(values: np.ndarray, ceiling: int) -> np.ndarray:
    return np.minimum(values, ceiling).astype(np.int64)
