"""Scored traces of runs under way, written as they come, so that a killed run can be resumed.

nightly/run_date=D/
    scored-RUN/attempt-N/*.parquet      what each driver's actors wrote: a few users a file
    attempts/N.takes-over.json          which files of earlier drivers count, fixed when driver N
                                        began to score

The files are the checkpoint: a user is finished where a whole file says so, and nothing else can
disagree with that. A driver that was thought dead may still write into its own folder; files that
were written after its successor began no longer count. Deletes all of it once it has expired.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dualrec.nightly.lease import NIGHTLY, state_folder
from dualrec.nightly.plan import Plan
from dualrec.publishing.retention import clean_up, last_written
from dualrec.storage.filesystems import map_in_threads, translate_storage_errors
from dualrec.storage.workspace import Workspace

ARTIFACT_KINDS = (
    *("catalog", "histories", "models", "recommendations", "traces", "predictions", "reports"),
)


class ScoredUsers(NamedTuple):
    """What was scored so far.

    Attributes:
        files: names in the workspace.
        by_purpose: purpose to the ids of its users, int64.
    """

    files: list[str]
    by_purpose: dict[str, np.ndarray]

    def ids(self, purpose: str) -> np.ndarray:
        """Return the ids of the users who are finished for a purpose, int64."""
        return self.by_purpose.get(purpose, np.empty(0, np.int64))


def scored_folder(plan: Plan) -> str:
    """Return the folder of all that was scored for a run."""
    return f"{state_folder(plan.run_date)}/scored-{plan.run_id}"


def attempt_folder(plan: Plan, attempt: int) -> str:
    """Return the folder into which one driver's actors write what they score."""
    return f"{scored_folder(plan)}/attempt-{attempt:04d}"


def take_over(workspace: Workspace, plan: Plan, attempt: int) -> ScoredUsers:
    """Read what earlier drivers of this run scored, and fix it for every later driver.

    Raises:
        WorkspaceError: the store failed.
    """
    rows = _read_whole_files(workspace, _counted_files(workspace, plan, attempt - 1))
    content = json.dumps({"run": plan.run_id, "files": list(rows)}).encode()
    workspace.write_bytes(_takes_over_name(plan, attempt), content)
    return _scored_users(rows)


def scored_so_far(workspace: Workspace, plan: Plan, attempt: int) -> ScoredUsers:
    """Read what this driver and those before it scored.

    Raises:
        WorkspaceError: the store failed.
    """
    return _scored_users(_read_whole_files(workspace, _counted_files(workspace, plan, attempt)))


def delete_expired(workspace: Workspace, retention_days: int, keep: str) -> list[str]:
    """Delete what is older than the retention time, of publishing (see `clean_up`), of runs that
    are over, and of histories of earlier run dates.

    Args:
        keep: the histories that serve the current snapshot.

    Returns:
        The names of the deleted folders.

    Raises:
        WorkspaceError: the store failed; what was not deleted will be the next time.
    """
    limit = datetime.now(UTC) - timedelta(days=retention_days)
    runs = [f"{NIGHTLY}/{folder}" for folder in workspace.folders(NIGHTLY)]
    expired = [folder for folder in runs if last_written(workspace, folder) < limit]
    expired += [name for name in _serving_histories(workspace, limit) if name != keep]
    for kind in ARTIFACT_KINDS:
        attempts = workspace.abandoned_attempts(kind)
        expired += [attempt for attempt in attempts if last_written(workspace, attempt) < limit]
    for folder in expired:
        workspace.remove(folder)
    return [*clean_up(workspace, retention_days), *expired]


def _serving_histories(workspace: Workspace, limit: datetime) -> list[str]:
    """List histories that were prepared before the limit to be served by models of other data."""
    expired = []
    for folder in workspace.folders("histories"):
        name = f"histories/{folder}"
        if workspace.has(name):
            description = workspace.description(name)
            written = datetime.fromisoformat(description["made"])
            if "items_of" in description and written < limit:
                expired.append(name)
    return expired


def _counted_files(workspace: Workspace, plan: Plan, attempt: int) -> list[str]:
    """List the files that count up to an attempt: those of the last driver that began to score
    this run, and those that it took over."""
    for number in range(attempt, 0, -1):
        name = _takes_over_name(plan, number)
        if workspace.has_file(name):
            taken = json.loads(workspace.read_bytes(name))
            if taken["run"] == plan.run_id:
                own = workspace.parquet_files(attempt_folder(plan, number))
                return [*taken["files"], *map(workspace.name_of, own)]
    return []


def _takes_over_name(plan: Plan, attempt: int) -> str:
    return f"{state_folder(plan.run_date)}/attempts/{attempt:04d}.takes-over.json"


def _read_whole_files(workspace: Workspace, names: list[str]) -> dict[str, pa.Table]:
    """Read user_id and purpose of each file; leave out a file whose writer was killed half-way."""

    def read(name: str) -> pa.Table | None:
        with translate_storage_errors(f"{workspace.uri}/{name}"):
            try:
                return pq.read_table(
                    workspace.path(name),
                    columns=["user_id", "purpose"],
                    filesystem=workspace.filesystem,
                    partitioning=None,
                )
            except pa.ArrowInvalid:
                return None

    tables = map_in_threads(read, names)
    return {name: table for name, table in zip(names, tables, strict=True) if table is not None}


def _scored_users(files: dict[str, pa.Table]) -> ScoredUsers:
    if not files:
        return ScoredUsers([], {})
    rows = pa.concat_tables(files.values())
    user_ids, purposes = rows.column("user_id").to_numpy(), np.asarray(rows.column("purpose"))
    by_purpose = {str(name): user_ids[purposes == name] for name in np.unique(purposes)}
    return ScoredUsers(list(files), by_purpose)
