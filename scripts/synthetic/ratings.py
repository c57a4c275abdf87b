"""The ratings of some users as rows, made from a seed. Knows what a data set consists of, not where
it is written."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from .activity import Shape, cut_chunks, make_counts
from .catalog import Catalog, Shelves, make_catalog
from .histories import make_movies, make_ratings
from .timing import make_timing

_CATALOG, _COUNTS = (
    1 << 31,
    (1 << 31) + 1,
)  # stand for these two in seeds, beside the numbers of chunks


@dataclass(frozen=True)
class Chunk:
    """Some users who are made together.

    Attributes:
        number: from 0; with the seed of the data set it decides everything that is drawn.
        first_user: the id of the first user; the others follow it.
        counts: int64 (users,), ratings of each.
    """

    number: int
    first_user: int
    counts: np.ndarray


def plan(shape: Shape, seed: int) -> tuple[Catalog, list[Chunk]]:
    """The catalog, and who is made with whom; the same for the same shape and seed.

    Raises:
        InputError: there is no such data set.
    """
    counts = make_counts(shape, np.random.default_rng([seed, _COUNTS]))
    catalog = make_catalog(shape.movies, np.random.default_rng([seed, _CATALOG]))
    ranges = enumerate(cut_chunks(counts))
    return catalog, [
        Chunk(number, first + 1, counts[first:after]) for number, (first, after) in ranges
    ]


def make_rows(chunk: Chunk, shelves: Shelves, seed: int) -> pl.DataFrame:
    """The columns userId, movieId, rating and timestamp, ordered by user, then movie, as in ML-32M.

    A user with more ratings than there are movies rates movies again; nobody else does.
    """
    random = np.random.default_rng([seed, chunk.number])
    timing = make_timing(chunk.counts, random)
    repeats = chunk.counts > len(shelves.item_ids)
    movies = make_movies(chunk.counts, timing, shelves, repeats, random)
    rows = pl.DataFrame(
        {
            "userId": np.repeat(
                np.arange(chunk.first_user, chunk.first_user + len(chunk.counts)), chunk.counts
            ),
            "movieId": shelves.item_ids[movies],
            "rating": make_ratings(chunk.counts, movies, shelves, random),
            "timestamp": timing.timestamps,
        }
    )
    return rows.sort("userId", "movieId", maintain_order=True)


def to_csv(rows: pl.DataFrame) -> bytes:
    """Lines without a header."""
    return rows.write_csv(include_header=False).encode()
