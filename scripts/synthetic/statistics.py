"""What a data set looks like: how ratings are spread over users, movies, stars and time, and what
follows what.

Works on any interactions, real or made up; `scripts/describe_ratings.py` prints it.
"""

import numpy as np
import polars as pl

from .timing import SESSION_BREAK_S


def gini(counts: np.ndarray) -> float:
    """The Gini coefficient of positive numbers: 0 where all are alike, near 1 where one has all."""
    ordered = np.sort(counts.astype(float))
    places = np.arange(1, len(ordered) + 1)
    return float(
        2 * (places * ordered).sum() / (len(ordered) * ordered.sum())
        - (len(ordered) + 1) / len(ordered)
    )


def top_share(counts: np.ndarray, share: float) -> float:
    """How much of all the largest numbers hold, such as the top 0.01 of them."""
    ordered = np.sort(counts)[::-1]
    return float(ordered[: int(len(ordered) * share)].sum() / ordered.sum())


def activity(ratings: pl.DataFrame) -> dict[str, float]:
    """Of the ratings of each user: column user_id."""
    counts = ratings.group_by("user_id").len()["len"].to_numpy()
    return {
        "ratings": float(counts.sum()),
        "users": float(len(counts)),
        "ratings of a user, least": float(counts.min()),
        **{f"ratings of a user, {share:.0%} quantile": float(np.quantile(counts, share)) for share in (0.25, 0.5, 0.75, 0.9, 0.99)},
        "ratings of a user, most": float(counts.max()),
        **{f"ratings by the top {share:.0%} of users": top_share(counts, share) for share in (0.01, 0.1)},
    }  # fmt: skip


def popularity(ratings: pl.DataFrame) -> dict[str, float]:
    """Of the ratings of each rated movie: columns user_id and item_id."""
    movies = ratings.group_by("item_id").agg(
        pl.len().alias("ratings"), pl.col("user_id").n_unique().alias("users")
    )
    counts, raters = movies["ratings"].to_numpy(), movies["users"].to_numpy()
    return {
        "movies rated": float(len(counts)),
        "Gini coefficient of the movies": gini(counts),
        "users who rated the most popular movie": float(raters.max() / ratings["user_id"].n_unique()),
        **{f"ratings of a movie, {share:.0%} quantile": float(np.quantile(counts, share)) for share in (0.5, 0.75, 0.9, 0.99)},
        **{f"ratings of the top {share:.0%} of movies": top_share(counts, share) for share in (0.01, 0.1)},
        "movies with one rating": float((counts == 1).mean()),
    }  # fmt: skip


def stars(ratings: pl.DataFrame) -> dict[str, float]:
    """Of the column rating."""
    values = ratings["rating"].to_numpy()
    return {
        "mean rating": float(values.mean()),
        "ratings of 4 stars or more": float((values >= 4).mean()),
    }


def times(ratings: pl.DataFrame) -> dict[str, float]:
    """Of the columns user_id and timestamp, ordered by them."""
    spans = (
        ratings.group_by("user_id").agg(span=pl.col("timestamp").max() - pl.col("timestamp").min())[
            "span"
        ]
        / 86_400
    )
    users, stamps = ratings["user_id"].to_numpy(), ratings["timestamp"].to_numpy()
    same = users[1:] == users[:-1]
    gaps = np.diff(stamps)[same]
    sessions = ratings["user_id"].n_unique() + int((gaps > SESSION_BREAK_S).sum())
    return {
        **{f"days from first to last rating, {share:.0%} quantile": float(spans.quantile(share) or 0.0) for share in (0.5, 0.75, 0.9)},
        "ratings in the second of the one before": float((gaps == 0).mean()),
        "ratings in a session": len(ratings) / sessions,
    }  # fmt: skip


def sequence(
    ratings: pl.DataFrame, genres: dict[int, frozenset[str]], random: np.random.Generator
) -> dict[str, float]:
    """How often a movie shares a genre with another of the same user: the one before it, or any.

    Args:
        ratings: columns user_id and item_id, in the order of events.
    """
    names = sorted(set().union(*genres.values()))
    ids = np.array(sorted(genres))
    masks = np.array(
        [sum(1 << names.index(name) for name in genres[item]) for item in ids.tolist()], np.int64
    )
    of_rating = masks[np.searchsorted(ids, ratings["item_id"].to_numpy())]
    users = ratings["user_id"].to_numpy()
    shuffled = np.lexsort((random.random(len(users)), users))
    return {
        "next movie shares a genre": _shared(of_rating, users),
        "any two movies of a user share one": _shared(of_rating[shuffled], users[shuffled]),
    }


def _shared(masks: np.ndarray, users: np.ndarray) -> float:
    return float((masks[1:] & masks[:-1] > 0)[users[1:] == users[:-1]].mean())
