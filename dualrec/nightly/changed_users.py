"""Which users need a new list: those whose history is not the one that their published list was
made from.

users/run_date=D/night-RUN/ keeps, beside each published night, one row a user: a fingerprint of the
history behind its list, and the night on which that list was scored. Knows histories and nights; no
models.
"""

import hashlib
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import ray.data

from dualrec.publishing.manifest import USERS, Manifest
from dualrec.storage.workspace import Workspace

KEPT = pa.schema(
    [
        ("user_id", pa.int64()),
        (
            "fingerprint",
            pa.int64(),
        ),  # of the history; FAILED where the list is not the language model's
        ("scored", pa.date32()),  # the night on which the list was scored
    ]
)
FAILED = 0  # no history's fingerprint: such a user is scored again


@dataclass(frozen=True)
class Users:
    """Users in the order of their ids.

    Attributes:
        ids: int64 (n,).
        fingerprints: int64 (n,).
        scored: datetime64[D] (n,).
    """

    ids: np.ndarray
    fingerprints: np.ndarray
    scored: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def table(self) -> pa.Table:
        """Schema KEPT."""
        return pa.table([self.ids, self.fingerprints, self.scored], schema=KEPT)


def users_of(histories: ray.data.Dataset, run_date: date) -> Users:
    """The users of some histories (schema HISTORIES), as scored on this night."""
    prints = histories.select_columns(["user_id", "item_ids"]).map_batches(
        fingerprints, fn_kwargs={"scored": run_date}, batch_format="pyarrow", batch_size=None
    )
    return _sorted(
        pa.concat_tables(
            [KEPT.empty_table(), *prints.iter_batches(batch_format="pyarrow", batch_size=None)]
        )
    )


def fingerprints(histories: pa.Table, scored: date) -> pa.Table:
    """One row of schema KEPT a history: equal where the movies are the same, in the same order."""
    prints = [
        int.from_bytes(
            hashlib.blake2b(np.asarray(items, np.int64).tobytes(), digest_size=8).digest(),
            "little",
            signed=True,
        )
        or 1
        for items in histories.column("item_ids").to_pylist()
    ]
    columns = [
        histories.column("user_id"),
        pa.array(prints, pa.int64()),
        pa.array([scored] * len(prints), pa.date32()),
    ]
    return pa.table(columns, schema=KEPT)


def carried_over(users: Users, before: Users) -> tuple[np.ndarray, Users]:
    """Whose published list still stands.

    Args:
        users: who is to be served tonight.
        before: whom the published night served.

    Returns:
        bool (n,), a place for each of `users`; and `users` with those nights on which their
        standing lists were scored.
    """
    places = np.minimum(np.searchsorted(before.ids, users.ids), max(len(before) - 1, 0))
    if not len(before):
        return np.zeros(len(users), bool), users
    same = (before.ids[places] == users.ids) & (before.fingerprints[places] == users.fingerprints)
    return same, Users(
        users.ids, users.fingerprints, np.where(same, before.scored[places], users.scored)
    )


def read_users(workspace: Workspace, manifest: Manifest) -> Users:
    """The users of a published night; none where nothing was kept of them, so that all are scored
    again."""
    folder = manifest.folder(USERS)
    if not workspace.parquet_files(folder):
        return _sorted(KEPT.empty_table())
    return _sorted(workspace.read_table(folder, KEPT))


def write_users(workspace: Workspace, folder: str, users: Users, failed: np.ndarray) -> None:
    """Keep the users of a night; those in `failed` (ids) are to be scored again on the next one."""
    again = np.where(np.isin(users.ids, failed), FAILED, users.fingerprints)
    workspace.filesystem.create_dir(workspace.path(folder), recursive=True)
    table = Users(users.ids, again, users.scored).table()
    workspace.write_table(table, f"{workspace.path(folder)}/part-0.parquet")


def _sorted(table: pa.Table) -> Users:
    ordered = table.sort_by("user_id")
    ids, prints, scored = (ordered.column(name).to_numpy() for name in KEPT.names)
    return Users(ids, prints, scored.astype("datetime64[D]"))
