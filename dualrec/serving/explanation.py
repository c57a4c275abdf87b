"""From a published list back to its reasons: which run scored the user, and what its trace says.

In: a workspace, a published snapshot and a user. Out: an Explanation. Reads the user's rows alone,
whatever the snapshot's size; the arithmetic is that of ranking/explain.py.
"""

from datetime import date
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from dualrec.data.pseudonyms import with_hashed_users
from dualrec.errors import InputError, WorkspaceError
from dualrec.publishing.manifest import (
    TRACES,
    USERS,
    Manifest,
    manifest_numbers,
    published_paths,
    read_manifest,
)
from dualrec.ranking.explain import Reason, explain_list, find_preset
from dualrec.ranking.lists import Trace
from dualrec.storage.filesystems import translate_storage_errors
from dualrec.storage.schemas import RECOMMENDATIONS
from dualrec.storage.workspace import Workspace


class Explanation(NamedTuple):
    """A user's published list and its reasons.

    Attributes:
        rows: the published rows (schema RECOMMENDATIONS as dicts), best first.
        reasons: of each row.
        scored: the snapshot whose run scored the user: the published one, or an earlier one from
            which the list was carried over.
        weight: of the language model in the scores.
    """

    rows: list[dict[str, Any]]
    reasons: list[Reason]
    trace: Trace
    scored: Manifest
    preset: str
    weight: float


def explain_user(
    workspace: Workspace, snapshot: Manifest, user_id: int, salt: bytes | None
) -> Explanation:
    """Read a user's list and the trace behind it, and recompute the scores.

    Args:
        salt: of pseudonymized traces; None reads the ids as they are.

    Raises:
        InputError: the snapshot has no list of the user.
        WorkspaceError: the trace is not there, or does not give the published list.
    """
    published = list_of(workspace, snapshot, user_id)
    if not len(published):
        raise InputError(
            f"user {user_id} has no list in the snapshot of {snapshot.run_date}: look at the id, "
            "or publish a snapshot whose histories hold this user by `dualrec nightly`"
        )
    date_scored = _date_scored(workspace, snapshot, user_id)
    seen = False
    for manifest in _runs_that_scored(workspace, snapshot, date_scored):
        for trace in _traces_of(workspace, manifest, user_id, salt):
            seen = True
            weight = float(manifest.metrics.get("weight", 0.0))
            preset = find_preset(trace, published, weight)
            if preset is not None:
                reasons = explain_list(trace, preset, weight, len(published))
                return Explanation(published.to_pylist(), reasons, trace, manifest, preset, weight)
    if seen:
        raise WorkspaceError(
            f"user {user_id}: the trace of {date_scored} does not give the published list, because "
            "another version of dualrec ranked it: score users anew by `dualrec nightly --force`"
        )
    raise WorkspaceError(
        f"user {user_id}: the run of {date_scored} has no trace of this id. If traces are "
        "pseudonymized, set recommend.trace_salt_env to the variable that held the salt then, and "
        "the variable to that salt; else score users anew by `dualrec nightly --force`"
    )


def list_of(workspace: Workspace, snapshot: Manifest, user_id: int) -> pa.Table:
    """Return a user's published rows (schema RECOMMENDATIONS), ordered by rank; none if none."""
    what = f"{workspace.uri}: the snapshot of {snapshot.run_date}"
    rows = user_rows(workspace, published_paths(workspace, snapshot), [user_id], what)
    return rows.select(RECOMMENDATIONS.names).sort_by("rank")


def user_rows(workspace: Workspace, paths: list[str], user_ids: list[int], what: str) -> pa.Table:
    """Return the rows of some users in Parquet files; row groups without them are not read.

    Args:
        what: names the files in an error.

    Raises:
        WorkspaceError: a file is not there, or cannot be read.
    """
    with translate_storage_errors(what):
        files = pads.dataset(paths, filesystem=workspace.filesystem, format="parquet")
        return files.to_table(filter=pc.field("user_id").isin(user_ids))


def _date_scored(workspace: Workspace, snapshot: Manifest, user_id: int) -> date:
    """Return the run date on which the user's list was scored, before it was carried over."""
    paths = workspace.parquet_files(snapshot.folder(USERS))
    if not paths:
        return snapshot.run_date
    rows = user_rows(workspace, paths, [user_id], f"{workspace.uri}/{snapshot.folder(USERS)}")
    scored: date = rows.column("scored")[0].as_py() if len(rows) else snapshot.run_date
    return scored


def _runs_that_scored(workspace: Workspace, snapshot: Manifest, scored: date) -> list[Manifest]:
    """Return the published runs of a date whose lists a snapshot may have carried over.

    A date may have been published more than once; lists are carried over between runs of one
    settings_hash alone. The newest comes first.

    Raises:
        WorkspaceError: the traces of all of them are gone.
    """
    runs = [snapshot]
    if scored != snapshot.run_date:
        counted = reversed(manifest_numbers(workspace, scored).get(scored, []))
        manifests = [read_manifest(workspace, scored, number) for number in counted]
        runs = [run for run in manifests if run.settings_hash == snapshot.settings_hash]
    runs = [run for run in runs if workspace.parquet_files(run.folder(TRACES))]
    if not runs:
        raise WorkspaceError(
            f"{workspace.uri}: the list was scored on {scored}, whose traces were deleted "
            "(publish.retention_days): score users anew by `dualrec nightly --force`"
        )
    return runs


def _traces_of(
    workspace: Workspace, run: Manifest, user_id: int, salt: bytes | None
) -> list[Trace]:
    """Return a user's trace in a run, under the pseudonym or the id; empty where there is none."""
    ids = [user_id]
    if salt is not None:
        user = pa.table({"user_id": pa.array([user_id], pa.int64())})
        ids += with_hashed_users(user, salt).column("user_id").to_pylist()
    folder = run.folder(TRACES)
    paths = workspace.parquet_files(folder)
    rows: list[Trace] = user_rows(workspace, paths, ids, f"{workspace.uri}/{folder}").to_pylist()
    return rows
