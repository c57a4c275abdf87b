"""Scored traces, kept as they come, so that a killed run goes on where it stopped.

nightly/run_date=D/
    scored-RUN/attempt-N/*.parquet      what each driver's actors wrote: a few users a file
    attempts/N.takes-over.json          which files of earlier drivers count, fixed when driver N
    began to score

The files are the checkpoint: a user is finished where a whole file says so, and nothing else can
disagree with that. A driver that was thought dead may still write into its own folder; what came
after its successor's look counts no more.
"""

import json
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dualrec.nightly.plan import Plan, night_place
from dualrec.storage.filesystems import map_in_threads, translate_storage_errors
from dualrec.storage.workspace import Workspace


class Scored(NamedTuple):
    """What was scored so far.

    Attributes:
        files: names in the workspace.
        finished: purpose to the ids of its users, int64.
    """

    files: list[str]
    finished: dict[str, np.ndarray]

    def of(self, purpose: str) -> np.ndarray:
        """The users who are finished for a purpose."""
        return self.finished.get(purpose, np.empty(0, np.int64))


def scored_folder(plan: Plan) -> str:
    """Where all that was scored for a run lies."""
    return f"{night_place(plan.run_date)}/scored-{plan.run_id}"


def attempt_folder(plan: Plan, attempt: int) -> str:
    """Where one driver's actors write what they scored."""
    return f"{scored_folder(plan)}/attempt-{attempt:04d}"


def take_over(workspace: Workspace, plan: Plan, attempt: int) -> Scored:
    """What earlier drivers of this run scored; fixes it for whoever comes later.

    Raises:
        WorkspaceError: the store failed.
    """
    files = _whole(workspace, _counted(workspace, plan, attempt - 1))
    content = json.dumps({"run": plan.run_id, "files": list(files)}).encode()
    workspace.write_bytes(_takes_over(plan, attempt), content)
    return _scored(files)


def scored_so_far(workspace: Workspace, plan: Plan, attempt: int) -> Scored:
    """What this driver and those before it scored.

    Raises:
        WorkspaceError: the store failed.
    """
    return _scored(_whole(workspace, _counted(workspace, plan, attempt)))


def _counted(workspace: Workspace, plan: Plan, attempt: int) -> list[str]:
    """The files up to an attempt: those of the last one that began to score this run, and those
    that it took over."""
    for number in range(attempt, 0, -1):
        name = _takes_over(plan, number)
        if workspace.has_file(name):
            took = json.loads(workspace.read_bytes(name))
            if took["run"] == plan.run_id:
                own = workspace.parquet_files(attempt_folder(plan, number))
                return [*took["files"], *map(workspace.name_of, own)]
    return []


def _takes_over(plan: Plan, attempt: int) -> str:
    return f"{night_place(plan.run_date)}/attempts/{attempt:04d}.takes-over.json"


def _whole(workspace: Workspace, names: list[str]) -> dict[str, pa.Table]:
    """User and purpose of the rows of each whole file; a file whose writer was killed half-way is
    none."""

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


def _scored(files: dict[str, pa.Table]) -> Scored:
    if not files:
        return Scored([], {})
    rows = pa.concat_tables(files.values())
    user_ids, purposes = rows.column("user_id").to_numpy(), np.asarray(rows.column("purpose"))
    return Scored(
        list(files),
        {str(purpose): user_ids[purposes == purpose] for purpose in np.unique(purposes)},
    )
