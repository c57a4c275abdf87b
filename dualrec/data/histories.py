"""One history a user, oldest movie first. Plain functions on blocks that hold all rows of their users."""

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from dualrec.data.splits import split_of
from dualrec.errors import InputError
from dualrec.schemas import HISTORIES, conform
from dualrec.settings import DataSettings


def build_histories(interactions: pa.Table, settings: DataSettings) -> pa.Table:
    """Group interactions by user, in order of time and then of place in the file.

    A movie that a user has several times counts once, at its first time.

    Args:
        interactions: schema INTERACTIONS, all rows of every user in it.

    Returns:
        Schema HISTORIES and `interactions int64`, the rows that went into each history.
    """
    ordered = pl.DataFrame(interactions).sort("user_id", "timestamp", "position")
    counts = ordered.group_by("user_id", maintain_order=True).len("interactions")
    first = ordered.unique(["user_id", "item_id"], keep="first", maintain_order=True)
    grouped = first.group_by("user_id", maintain_order=True).agg(
        pl.col("item_id").alias("item_ids"), pl.col("timestamp").alias("timestamps"), pl.col("rating").alias("ratings")
    )
    users = grouped.join(counts, on="user_id", how="left", maintain_order="left").to_arrow()
    split = pa.array(split_of(users.column("user_id").to_numpy(), settings), pa.string())
    histories = conform(users.append_column("split", split), HISTORIES, "histories")
    return histories.append_column("interactions", users.column("interactions").cast(pa.int64()))


def keep_items(histories: pa.Table, kept: np.ndarray) -> pa.Table:
    """Leave only the items in `kept` (sorted int64) in each history. A user with none left keeps an empty history."""
    frame = pl.DataFrame(conform(histories, HISTORIES, "histories"))
    lists = ["item_ids", "timestamps", "ratings"]
    order = frame.select("user_id", "split")
    rows = frame.explode(lists, empty_as_null=False).filter(pl.col("item_ids").is_in(pl.Series(kept).implode()))
    grouped = rows.group_by("user_id", maintain_order=True).agg(lists)
    joined = order.join(grouped, on="user_id", how="left", maintain_order="left")
    filled = joined.with_columns(pl.col(name).fill_null([]) for name in lists)
    return conform(filled.to_arrow(), HISTORIES, "histories")


def item_counts(histories: pa.Table) -> pa.Table:
    """Count each item over the histories of training users: columns item_id and count, int64."""
    training = histories.filter(pc.equal(histories.column("split"), "train"))
    item_ids, counts = np.unique(pc.list_flatten(training.column("item_ids")).to_numpy(), return_counts=True)
    return pa.table({"item_id": pa.array(item_ids, pa.int64()), "count": pa.array(counts, pa.int64())})


def check_unique_users(user_ids: pa.ChunkedArray, where: str) -> None:
    """Raise an InputError that names users who stand in more than one row."""
    counts = pc.value_counts(user_ids.combine_chunks())
    repeated = [row["values"] for row in counts.filter(pc.greater(counts.field("counts"), 1)).to_pylist()]
    if repeated:
        names = ", ".join(map(str, sorted(repeated)[:5]))
        raise InputError(f"{where}: {len(repeated)} user ids stand in several rows ({names}): expected one row a user")
