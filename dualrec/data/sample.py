"""A sample of the users, where all would be too many: seeded, and the same in any order of the
rows."""

import numpy as np
import pyarrow as pa
import ray.data

from dualrec.data.splits import hashed


def at_most(histories: ray.data.Dataset, users: int, seed: int) -> ray.data.Dataset:
    """The histories (schema HISTORIES) of about so many users; of all where `users` is 0 or there
    are no more."""
    there = histories.count()
    if not 0 < users < there:
        return histories
    share = {"share": users / there, "seed": seed}
    return histories.map_batches(
        sample_users, fn_kwargs=share, batch_format="pyarrow", batch_size=None
    ).materialize()


def sample_users(histories: pa.Table, share: float, seed: int) -> pa.Table:
    """The histories of about that share of the users, by a seeded hash of the id."""
    # Hashed twice: the users of a split are those whose hash lies between two bounds, maybe under
    # the same seed.
    once = hashed(histories.column("user_id").to_numpy(), seed)
    place = hashed(once.view(np.int64), seed).astype(np.float64) / 2.0**64
    return histories.filter(pa.array(place < share))
