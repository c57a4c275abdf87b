"""The published Delta table: opened, read, committed to. Knows no staging and no rollback.

Each commit replaces one run date's partition and carries its whole description, so that the
manifest of a publication can be written by whoever comes next if the job dies between the two. Two
application transactions guard it: one of the date, whose version is the publication's number, so
that of two jobs on one date one wins; and one of the run, so that a run is published once.
"""

import json
import re
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from dualrec.errors import PublishError
from dualrec.publishing.manifest import LISTS, Manifest, Snapshot
from dualrec.storage.filesystems import delta_options, is_transient, translate_storage_errors
from dualrec.storage.schemas import RECOMMENDATIONS
from dualrec.storage.workspace import Workspace

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from deltalake.transaction import AddAction

DESCRIPTION = "dualrec"  # the key of the description in a commit's metadata
# commits searched for a publication, newest first; it is nearly always the last
COMMITS_SEARCHED = 200

_COMMIT = re.compile(r"\d{20}\.json")
_RETRIED_INSIDE = re.compile(r"after \d+ retries")
_Result = TypeVar("_Result")


def table_uri(workspace: Workspace) -> str:
    """Return where Delta readers find the published table."""
    path = workspace.path(LISTS)
    return path if workspace.is_local else f"s3://{path}"


def open_table(workspace: Workspace) -> "DeltaTable | None":
    """Open the table at its newest version; None where nothing was ever published.

    Raises:
        WorkspaceError: the store cannot be read.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import TableNotFoundError

    def open_newest() -> "DeltaTable | None":
        try:
            return DeltaTable(table_uri(workspace), storage_options=_options(workspace))
        except TableNotFoundError:
            return None

    return _retry(workspace, open_newest)


def open_or_create_table(workspace: Workspace, retention_days: int) -> "DeltaTable":
    """Open the table at its newest version, and create it if it is not there.

    Args:
        retention_days: how long Delta's own tools, where somebody runs them, leave the files of
            replaced versions.

    Raises:
        PublishError: a table of other columns is there.
        WorkspaceError: the store cannot be read or written.
    """
    from deltalake import DeltaTable, Schema
    from deltalake.exceptions import DeltaError

    schema, uri = Schema.from_arrow(RECOMMENDATIONS), table_uri(workspace)

    def create() -> DeltaTable:
        with suppress(DeltaError):  # another job created it just now: if not, opening it says so
            DeltaTable.create(
                uri,
                schema,
                mode="error",
                partition_by=["run_date"],
                name="recommendations",
                configuration={
                    "delta.deletedFileRetentionDuration": f"interval {retention_days} days"
                },
                storage_options=_options(workspace),
            )
        return DeltaTable(uri, storage_options=_options(workspace))

    table = open_table(workspace) or _retry(workspace, create)
    if _retry(workspace, table.schema) != schema:
        raise PublishError(
            f"{uri} has other columns than this version of dualrec writes: "
            "publish to another workspace, or move that table away"
        )
    return table


def current_number(workspace: Workspace, table: "DeltaTable | None", run_date: date) -> int:
    """Return the number of a run date's current publication; 0 where it was never published.

    Raises:
        WorkspaceError: the store cannot be read.
    """
    return (table and _transaction(workspace, table, _of_date(run_date))) or 0


def is_committed(workspace: Workspace, table: "DeltaTable", run_date: date, run_id: str) -> bool:
    """Say whether this run was ever published, even if it was replaced or rolled back later.

    Raises:
        WorkspaceError: the store cannot be read.
    """
    return _transaction(workspace, table, _of_run(run_date, run_id)) is not None


def commit(
    workspace: Workspace, table: "DeltaTable", snapshot: Snapshot, number: int, restores: int | None
) -> bool:
    """Replace the run date's partition with these files, in one commit.

    Args:
        number: one more than the current number in `table`.
        restores: the publication that is rolled back to; None for a new one.

    Returns:
        Whether it was committed: False where another job published this date since `table` was
        opened.

    Raises:
        WorkspaceError: the store failed, and whether it took the commit is not known.
    """
    from deltalake import CommitProperties, Schema, Transaction
    from deltalake.exceptions import CommitFailedError, DeltaError

    transactions = [Transaction(_of_date(snapshot.run_date), number)]
    if restores is None:
        transactions.append(Transaction(_of_run(snapshot.run_date, snapshot.run_id), 1))
    attempt = uuid.uuid4().hex
    description = snapshot.model_dump(mode="json", include=set(Snapshot.model_fields))
    description |= {"number": number, "restores": restores, "attempt": attempt}
    properties = CommitProperties(
        app_transactions=transactions,
        custom_metadata={DESCRIPTION: json.dumps(description, allow_nan=False)},
    )

    def commit_once() -> bool:
        try:
            table.create_write_transaction(
                actions=[*_add_actions(snapshot)],
                mode="overwrite",
                schema=Schema.from_arrow(RECOMMENDATIONS),
                partition_by=["run_date"],
                partition_filters=[("run_date", "=", str(snapshot.run_date))],
                commit_properties=properties,
            )
        except (OSError, DeltaError) as error:
            # The response may be lost after the commit; tried again, it meets its own first
            # attempt.
            entry = _find_commit(workspace, snapshot.run_date, number)
            if entry is not None and entry[2]["attempt"] == attempt:
                return True
            if isinstance(error, CommitFailedError):
                return False
            raise
        return True

    return _retry(workspace, commit_once)


def committed_manifest(workspace: Workspace, run_date: date, number: int) -> Manifest | None:
    """Read the manifest of a publication from its commit; None where the table's log no longer
    has it."""
    entry = _find_commit(workspace, run_date, number)
    if entry is None:
        return None
    version, timestamp, description = entry
    published = datetime.fromtimestamp(timestamp / 1000, UTC)
    return Manifest.model_validate(
        {**description, "delta_version": version, "published": published}
    )


def current_paths(workspace: Workspace, table: "DeltaTable") -> set[str]:
    """List the files of all active snapshots, as paths in the recommendations folder.

    Raises:
        WorkspaceError: the store cannot be read.
    """
    actions = _retry(workspace, lambda: table.get_add_actions(flatten=True))
    return set(actions.column("path").to_pylist())


def _find_commit(
    workspace: Workspace, run_date: date, number: int
) -> tuple[int, int, dict[str, Any]] | None:
    """Find a publication in the table's log: its Delta version, its time in milliseconds, and its
    description.

    Read from the log's files, because delta-rs 1.6 counts the versions of `history` from the
    version that was opened, which is wrong once others have committed since.
    """
    log = [
        info.path
        for info in workspace.files(f"{LISTS}/_delta_log")
        if _COMMIT.fullmatch(info.base_name)
    ]
    for path in log[: -COMMITS_SEARCHED - 1 : -1]:
        for line in workspace.read_bytes(workspace.name_of(path)).splitlines():
            commit_info = json.loads(line).get("commitInfo", {})
            description = json.loads(commit_info.get(DESCRIPTION, "{}"))
            if description.get("run_date") == str(run_date) and description.get("number") == number:
                return (
                    int(path.rpartition("/")[2].removesuffix(".json")),
                    commit_info["timestamp"],
                    description,
                )
    return None


def _add_actions(snapshot: Snapshot) -> "list[AddAction]":
    from deltalake.transaction import AddAction

    now = int(time.time() * 1000)
    return [
        AddAction(
            path=file.path,
            size=file.bytes,
            partition_values={"run_date": str(snapshot.run_date)},
            modification_time=now,
            data_change=True,
            stats=json.dumps({"numRecords": file.rows}),
        )
        for file in snapshot.files
    ]


def _of_date(run_date: date) -> str:
    return f"dualrec/{run_date}"


def _of_run(run_date: date, run_id: str) -> str:
    return f"dualrec/{run_date}/{run_id}"


def _options(workspace: Workspace) -> dict[str, str] | None:
    return None if workspace.is_local else delta_options(workspace.store)


def _transaction(workspace: Workspace, table: "DeltaTable", application: str) -> int | None:
    return _retry(workspace, lambda: table.transaction_version(application))


def _retry(workspace: Workspace, request: Callable[[], _Result]) -> _Result:
    """Call delta-rs, and again where the store failed it in a way that may pass.

    Raises:
        WorkspaceError: the store goes on failing.
    """
    from deltalake.exceptions import DeltaError

    errors = (OSError, DeltaError)
    with translate_storage_errors(table_uri(workspace), errors):
        for pause_s in workspace.store.table_pauses_s:
            try:
                return request()
            except errors as error:
                if not is_transient(error) or _RETRIED_INSIDE.search(str(error)):
                    raise
                time.sleep(pause_s)
        return request()
