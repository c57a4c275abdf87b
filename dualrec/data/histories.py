"""One history a user, oldest movie first. Plain functions on blocks that hold all rows of their
users."""

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from dualrec.config.settings import DataSettings
from dualrec.data.splits import split_of
from dualrec.storage.schemas import HISTORIES, conform

LISTS = ("item_ids", "timestamps", "ratings")


def build_histories(interactions: pa.Table, settings: DataSettings) -> pa.Table:
    """Group interactions by user, in order of time and then of place in the file.

    A movie that a user has several times counts once, at its first time. A user with nothing before
    `settings.until` has an empty history.

    Args:
        interactions: schema INTERACTIONS, all rows of every user in it.

    Returns:
        Schema HISTORIES, and of the rows of each user `interactions int64`, all of them, and `later
        int64`, those that
        `settings.until` left out.
    """
    by_position = pl.DataFrame(interactions).sort(
        "position"
    )  # then a stable sort: faster than one sort by all three
    ordered = by_position.sort("user_id", "timestamp", maintain_order=True)
    later = pl.lit(False) if settings.until is None else pl.col("timestamp") >= settings.until
    counts = ordered.group_by("user_id", maintain_order=True).agg(
        pl.len().alias("interactions"), later.sum().alias("later")
    )
    first = ordered.filter(~later).filter(pl.col("item_id").is_first_distinct().over("user_id"))
    grouped = first.group_by("user_id", maintain_order=True).agg(
        pl.col("item_id").alias("item_ids"),
        pl.col("timestamp").alias("timestamps"),
        pl.col("rating").alias("ratings"),
    )
    users = _with_all_users(counts, grouped).to_arrow()
    split = pa.array(split_of(users.column("user_id").to_numpy(), settings), pa.string())
    histories = conform(users.append_column("split", split), HISTORIES, "histories")
    for name in ("interactions", "later"):
        histories = histories.append_column(name, users.column(name).cast(pa.int64()))
    return histories


def keep_items(histories: pa.Table, kept: np.ndarray) -> pa.Table:
    """Leave only the items in `kept` (sorted int64) in each history. A user with none left keeps an
    empty history."""
    frame = pl.DataFrame(conform(histories, HISTORIES, "histories"))
    rows = frame.explode(LISTS, empty_as_null=False).filter(
        pl.col("item_ids").is_in(pl.Series(kept).implode())
    )
    grouped = rows.group_by("user_id", maintain_order=True).agg(LISTS)
    return conform(
        _with_all_users(frame.select("user_id", "split"), grouped).to_arrow(),
        HISTORIES,
        "histories",
    )


def _with_all_users(users: pl.DataFrame, lists: pl.DataFrame) -> pl.DataFrame:
    """The lists of every user, in the order of `users`; empty ones for those that have none."""
    joined = users.join(lists, on="user_id", how="left", maintain_order="left")
    return joined.with_columns(pl.col(name).fill_null([]) for name in LISTS)


def item_counts(histories: pa.Table) -> pa.Table:
    """Count each item over the histories of training users: columns item_id and count, int64."""
    training = histories.filter(pc.equal(histories.column("split"), "train"))
    item_ids, counts = np.unique(
        pc.list_flatten(training.column("item_ids")).to_numpy(), return_counts=True
    )
    return pa.table(
        {"item_id": pa.array(item_ids, pa.int64()), "count": pa.array(counts, pa.int64())}
    )
