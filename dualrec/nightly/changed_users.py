"""Finds the users who need a new list: those whose history has changed since their list was scored.

users/run_date=D/night-RUN/ saves, beside each published snapshot, one row a user: a fingerprint of
the history behind its list, and the run date on which that list was scored. Knows histories and
snapshots; no models.
"""

import hashlib
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import ray.data

from dualrec.nightly.plan import Plan
from dualrec.publishing.manifest import USERS, Manifest, read_manifest
from dualrec.storage.workspace import Workspace

SCORED_HISTORIES = pa.schema(
    [
        ("user_id", pa.int64()),
        ("fingerprint", pa.int64()),  # of the history; FAILED where the language model failed
        ("scored", pa.date32()),  # the run date on which the list was scored
    ]
)
FAILED = 0  # no history has this fingerprint, so such a user is scored again


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
        """Return them as a table of schema SCORED_HISTORIES."""
        return pa.table([self.ids, self.fingerprints, self.scored], schema=SCORED_HISTORIES)


class UsersToServe(NamedTuple):
    """The users of a run.

    Attributes:
        users: all of them.
        unchanged: bool (n,), whose previous list is carried over.
        previous: the snapshot of the run date before; None where there is none.
    """

    users: Users
    unchanged: np.ndarray
    previous: Manifest | None

    @property
    def to_carry(self) -> np.ndarray:
        """Return the ids of the users whose list is carried over, int64."""
        return self.users.ids[self.unchanged]

    @property
    def to_score(self) -> np.ndarray:
        """Return the ids of the users who are scored, int64."""
        return self.users.ids[~self.unchanged]


def fingerprint_users(histories: ray.data.Dataset, run_date: date) -> Users:
    """Fingerprint all histories (schema HISTORIES), as scored on this run date."""
    rows = histories.select_columns(["user_id", "item_ids"]).map_batches(
        fingerprints, fn_kwargs={"scored": run_date}, batch_format="pyarrow", batch_size=None
    )
    batches = rows.iter_batches(batch_format="pyarrow", batch_size=None)
    return _sorted_users(pa.concat_tables([SCORED_HISTORIES.empty_table(), *batches]))


def fingerprints(histories: pa.Table, scored: date) -> pa.Table:
    """Return a row of schema SCORED_HISTORIES for each history.

    Fingerprints are equal where the movies are the same, in the same order.
    """
    prints = []
    for item_ids in histories.column("item_ids").to_pylist():
        content = np.asarray(item_ids, np.int64).tobytes()
        digest = hashlib.blake2b(content, digest_size=8).digest()
        prints.append(int.from_bytes(digest, "little", signed=True) or 1)
    columns = [
        histories.column("user_id"),
        pa.array(prints, pa.int64()),
        pa.array([scored] * len(prints), pa.date32()),
    ]
    return pa.table(columns, schema=SCORED_HISTORIES)


def select_users(workspace: Workspace, plan: Plan, users: Users) -> UsersToServe:
    """Decide whose list is carried over, and who is scored.

    Raises:
        WorkspaceError: the previous snapshot cannot be read.
    """
    nobody = np.zeros(len(users), bool)
    if plan.previous is None:
        return UsersToServe(users, nobody, None)
    previous = read_manifest(workspace, plan.previous.run_date, plan.previous.number)
    if not plan.carries:
        return UsersToServe(users, nobody, previous)
    unchanged, users = match_unchanged(users, read_users(workspace, previous))
    return UsersToServe(users, unchanged, previous)


def match_unchanged(users: Users, previous: Users) -> tuple[np.ndarray, Users]:
    """Find the users whose previous list is still valid.

    Args:
        users: who is to be served now.
        previous: whom the previous snapshot served.

    Returns:
        bool (n,), whether each of `users` has an unchanged history; and `users`, where those have
        the run date on which their previous list was scored.
    """
    if not len(previous):
        return np.zeros(len(users), bool), users
    rows = np.minimum(np.searchsorted(previous.ids, users.ids), len(previous) - 1)
    same_user = previous.ids[rows] == users.ids
    unchanged = same_user & (previous.fingerprints[rows] == users.fingerprints)
    scored = np.where(unchanged, previous.scored[rows], users.scored)
    return unchanged, Users(users.ids, users.fingerprints, scored)


def read_users(workspace: Workspace, manifest: Manifest) -> Users:
    """Read the users of a published snapshot; none where they were not saved, so that all are
    scored again."""
    folder = manifest.folder(USERS)
    if not workspace.parquet_files(folder):
        return _sorted_users(SCORED_HISTORIES.empty_table())
    return _sorted_users(workspace.read_table(folder, SCORED_HISTORIES))


def write_users(workspace: Workspace, folder: str, users: Users, failed: np.ndarray) -> None:
    """Save the users of a snapshot; those in `failed` (ids) are scored again in the next one."""
    again = np.where(np.isin(users.ids, failed), FAILED, users.fingerprints)
    workspace.filesystem.create_dir(workspace.path(folder), recursive=True)
    table = Users(users.ids, again, users.scored).table()
    workspace.write_table(table, f"{workspace.path(folder)}/part-0.parquet")


def _sorted_users(table: pa.Table) -> Users:
    ordered = table.sort_by("user_id")
    ids, prints, scored = (ordered.column(name).to_numpy() for name in SCORED_HISTORIES.names)
    return Users(ids, prints, scored.astype("datetime64[D]"))
