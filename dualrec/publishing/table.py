"""The published Delta table: opened, committed to, and asked what stands. Knows no staging and no
rollback.

Each commit replaces one night's partition and carries its whole description, so that the manifest
of a publication can be written by whoever comes next if the job dies between the two. Two
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
from dualrec.publishing.manifest import LISTS, Manifest, Night
from dualrec.storage.filesystems import delta_options, is_transient, translate_storage_errors
from dualrec.storage.schemas import RECOMMENDATIONS
from dualrec.storage.workspace import Workspace

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from deltalake.transaction import AddAction

DESCRIPTION = "dualrec"  # the key of the description in a commit's metadata
# commits to look through for a publication, the last ones first; it is nearly always the last
LOOK_BACK = 200

_COMMIT = re.compile(r"\d{20}\.json")
_WAS_PATIENT = re.compile(r"after \d+ retries")
_Answer = TypeVar("_Answer")


def table_uri(workspace: Workspace) -> str:
    """Where Delta readers find the published table."""
    path = workspace.path(LISTS)
    return path if workspace.is_local else f"s3://{path}"


def open_table(workspace: Workspace) -> "DeltaTable | None":
    """The table as it stands now; None where nothing was ever published.

    Raises:
        WorkspaceError: the store cannot be read.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import TableNotFoundError

    def opened() -> "DeltaTable | None":
        try:
            return DeltaTable(table_uri(workspace), storage_options=_options(workspace))
        except TableNotFoundError:
            return None

    return _asked(workspace, opened)


def open_or_make_table(workspace: Workspace, retention_days: int) -> "DeltaTable":
    """The table as it stands now, made if it is not there.

    Args:
        retention_days: how long Delta's own tools, where somebody runs them, leave the files of
            replaced nights.

    Raises:
        PublishError: a table of other columns is there.
        WorkspaceError: the store cannot be read or written.
    """
    from deltalake import DeltaTable, Schema
    from deltalake.exceptions import DeltaError

    schema, uri = Schema.from_arrow(RECOMMENDATIONS), table_uri(workspace)

    def made() -> DeltaTable:
        with suppress(DeltaError):  # another job made it at this moment: if not, opening it says so
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

    table = open_table(workspace) or _asked(workspace, made)
    if _asked(workspace, table.schema) != schema:
        raise PublishError(
            f"{uri} has other columns than this version of dualrec writes: "
            "publish to another workspace, or move that table away"
        )
    return table


def standing_number(workspace: Workspace, table: "DeltaTable | None", run_date: date) -> int:
    """The number of the publication that stands for a date; 0 where that night was never published.

    Raises:
        WorkspaceError: the store cannot be read.
    """
    return (table and _transaction(workspace, table, _of_date(run_date))) or 0


def is_committed(workspace: Workspace, table: "DeltaTable", run_date: date, run_id: str) -> bool:
    """Whether this run was ever published, if only to be replaced or rolled back later.

    Raises:
        WorkspaceError: the store cannot be read.
    """
    return _transaction(workspace, table, _of_run(run_date, run_id)) is not None


def commit(
    workspace: Workspace, table: "DeltaTable", night: Night, number: int, restores: int | None
) -> bool:
    """Replace the night's partition with these files, in one commit.

    Args:
        number: one more than the number that stands in `table`.
        restores: the publication that a rollback brings back; None for a new one.

    Returns:
        Whether it was committed: False where another job published this date since `table` was
            opened.

    Raises:
        WorkspaceError: the store failed, and whether it took the commit is not known.
    """
    from deltalake import CommitProperties, Schema, Transaction
    from deltalake.exceptions import CommitFailedError, DeltaError

    transactions = [Transaction(_of_date(night.run_date), number)]
    if restores is None:
        transactions.append(Transaction(_of_run(night.run_date, night.run_id), 1))
    attempt = uuid.uuid4().hex
    described = night.model_dump(mode="json", include=set(Night.model_fields))
    described |= {"number": number, "restores": restores, "attempt": attempt}
    properties = CommitProperties(
        app_transactions=transactions,
        custom_metadata={DESCRIPTION: json.dumps(described, allow_nan=False)},
    )

    def committed() -> bool:
        try:
            table.create_write_transaction(
                actions=[*_added(night)],
                mode="overwrite",
                schema=Schema.from_arrow(RECOMMENDATIONS),
                partition_by=["run_date"],
                partition_filters=[("run_date", "=", str(night.run_date))],
                commit_properties=properties,
            )
        except (OSError, DeltaError) as error:
            # An answer may be lost after the commit was made; tried again, it finds its own first
            # try in the way.
            entry = _entry(workspace, night.run_date, number)
            if entry is not None and entry[2]["attempt"] == attempt:
                return True
            if isinstance(error, CommitFailedError):
                return False
            raise
        return True

    return _asked(workspace, committed)


def committed_manifest(workspace: Workspace, run_date: date, number: int) -> Manifest | None:
    """The manifest of a publication as its commit describes it; None where the table's log no
    longer holds it."""
    found = _entry(workspace, run_date, number)
    if found is None:
        return None
    version, timestamp, described = found
    published = datetime.fromtimestamp(timestamp / 1000, UTC)
    return Manifest.model_validate({**described, "delta_version": version, "published": published})


def standing_paths(workspace: Workspace, table: "DeltaTable") -> set[str]:
    """The files of all nights that stand, as paths in the recommendations folder.

    Raises:
        WorkspaceError: the store cannot be read.
    """
    actions = _asked(workspace, lambda: table.get_add_actions(flatten=True))
    return set(actions.column("path").to_pylist())


def _entry(
    workspace: Workspace, run_date: date, number: int
) -> tuple[int, int, dict[str, Any]] | None:
    """A publication in the table's log: its Delta version, its time in milliseconds, and its
    description.

    Read from the log's files, because delta-rs 1.6 counts the versions of `history` from the
    version that was opened, which is wrong once others have committed since.
    """
    log = [
        info.path
        for info in workspace.files(f"{LISTS}/_delta_log")
        if _COMMIT.fullmatch(info.base_name)
    ]
    for path in log[: -LOOK_BACK - 1 : -1]:
        for line in workspace.read_bytes(workspace.name_of(path)).splitlines():
            commit_info = json.loads(line).get("commitInfo", {})
            described = json.loads(commit_info.get(DESCRIPTION, "{}"))
            if described.get("run_date") == str(run_date) and described.get("number") == number:
                return (
                    int(path.rpartition("/")[2].removesuffix(".json")),
                    commit_info["timestamp"],
                    described,
                )
    return None


def _added(night: Night) -> "list[AddAction]":
    from deltalake.transaction import AddAction

    now = int(time.time() * 1000)
    return [
        AddAction(
            path=file.path,
            size=file.bytes,
            partition_values={"run_date": str(night.run_date)},
            modification_time=now,
            data_change=True,
            stats=json.dumps({"numRecords": file.rows}),
        )
        for file in night.files
    ]


def _of_date(run_date: date) -> str:
    return f"dualrec/{run_date}"


def _of_run(run_date: date, run_id: str) -> str:
    return f"dualrec/{run_date}/{run_id}"


def _options(workspace: Workspace) -> dict[str, str] | None:
    return None if workspace.is_local else delta_options(workspace.store)


def _transaction(workspace: Workspace, table: "DeltaTable", application: str) -> int | None:
    return _asked(workspace, lambda: table.transaction_version(application))


def _asked(workspace: Workspace, ask: Callable[[], _Answer]) -> _Answer:
    """Ask delta-rs, and again where the store failed it in a way that may pass.

    Raises:
        WorkspaceError: the store goes on failing.
    """
    from deltalake.exceptions import DeltaError

    errors = (OSError, DeltaError)
    with translate_storage_errors(table_uri(workspace), errors):
        for pause_s in workspace.store.table_pauses_s:
            try:
                return ask()
            except errors as error:
                if not is_transient(error) or _WAS_PATIENT.search(str(error)):
                    raise
                time.sleep(pause_s)
        return ask()
