"""Publishes a verified snapshot, and rolls one back: the order of the steps, and which job wins.
Knows no Parquet, no models.

First the current publication is finished, then the Delta commit decides, then its manifest is
written. A job that dies in between leaves either nothing or a commit that the next job finishes;
readers see whole snapshots all the while.
"""

import logging
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from dualrec.config.settings import PublishSettings
from dualrec.errors import PublishError
from dualrec.publishing.manifest import (
    LISTS,
    MANIFESTS,
    Manifest,
    Snapshot,
    manifest_numbers,
    previous_number,
    read_manifest,
    write_manifest,
)
from dualrec.publishing.table import (
    commit,
    committed_manifest,
    current_number,
    is_committed,
    open_or_create_table,
    open_table,
)
from dualrec.storage.workspace import Workspace

if TYPE_CHECKING:
    from deltalake import DeltaTable

COMMIT_ATTEMPTS = 5  # of a commit that failed though no other job published the run date

log = logging.getLogger(__name__)


class Published(NamedTuple):
    """A current publication, and whether this call published it; if not, it was current before."""

    manifest: Manifest
    is_new: bool


class RolledBack(NamedTuple):
    """The publication that a rollback added, and the one that it replaced."""

    manifest: Manifest
    replaced: Manifest


def publication_count(workspace: Workspace, run_date: date) -> int:
    """Count how often a run date was published or rolled back so far. A run notes it when it
    starts, for `publish`.

    Raises:
        WorkspaceError: the store cannot be read.
    """
    return current_number(workspace, open_table(workspace), run_date)


def find_published_run(workspace: Workspace, run_date: date, run_id: str) -> Manifest | None:
    """Find the current publication of a run, and write its manifest if that was left undone; None
    if the run was never published.

    Raises:
        PublishError: the run was published before, and replaced or rolled back since.
        WorkspaceError: the store failed.
    """
    table = open_table(workspace)
    if table is None or not is_committed(workspace, table, run_date, run_id):
        return None
    _finish_publication(workspace, table, run_date)
    return _current_publication(workspace, table, run_date, run_id).manifest


def publish(
    workspace: Workspace, snapshot: Snapshot, replaces: int, settings: PublishSettings
) -> Published:
    """Publish a verified snapshot to all readers. Publishing it again changes nothing.

    Args:
        replaces: the `publication_count` of when the run began, so that a job that was thought
            dead, and comes back, does not replace what was published meanwhile.

    Raises:
        PublishError: another run was published since this one began, or at this moment; this run
            was published before and replaced since; or a staged file is gone. The active snapshot
            stays as it is.
        WorkspaceError: the store failed. Publishing the same snapshot again finishes it.
    """
    table = open_or_create_table(workspace, settings.retention_days)
    _finish_publication(workspace, table, snapshot.run_date)
    if is_committed(workspace, table, snapshot.run_date, snapshot.run_id):
        return _current_publication(workspace, table, snapshot.run_date, snapshot.run_id)
    number = current_number(workspace, table, snapshot.run_date)
    if number != replaces:
        why = "it was published by another run since this one began"
        raise _not_published(snapshot, f"{why} ({replaces} times then, {number} now)")
    require_files(workspace, snapshot)
    try:
        return Published(_commit(workspace, table, snapshot, number + 1, None), is_new=True)
    except PublishError:
        table = open_or_create_table(workspace, settings.retention_days)
        if not is_committed(workspace, table, snapshot.run_date, snapshot.run_id):
            raise
        # The other job published this very run.
        _finish_publication(workspace, table, snapshot.run_date)
        return _current_publication(workspace, table, snapshot.run_date, snapshot.run_id)


def roll_back(workspace: Workspace, run_date: date) -> RolledBack:
    """Publish the previous version of one run date again, as a new publication. No history is
    rewritten.

    A rollback that was cut off is finished, and no second one is done.

    Raises:
        PublishError: the run date was never published, has no previous version, the files of that
            are gone, or another job published it at this moment.
        WorkspaceError: the store failed.
    """
    table = open_table(workspace)
    number = current_number(workspace, table, run_date)
    if table is None or number == 0:
        raise PublishError(
            f"{run_date} was never published in {workspace.uri}: "
            "`dualrec nights` lists the dates that were"
        )
    finished = _finish_publication(workspace, table, run_date)
    numbers = manifest_numbers(workspace, run_date).get(run_date, [])
    if finished is not None and finished.restores is not None:
        earlier = [other for other in numbers if other < number]
        return RolledBack(finished, read_manifest(workspace, run_date, earlier[-1]))
    current = read_manifest(workspace, run_date, number)
    previous = previous_number(current, numbers)
    if previous is None:
        raise PublishError(
            f"{run_date} has no version before number {current.number}: it was published once, "
            "or rolled back as far as it goes; score and publish it again instead"
        )
    target = read_manifest(workspace, run_date, previous)
    require_files(workspace, target)
    return RolledBack(_commit(workspace, table, target, number + 1, target.origin), current)


def require_files(workspace: Workspace, snapshot: Snapshot) -> None:
    """Check that all files of a snapshot are where they were, in their sizes.

    Raises:
        PublishError: one is gone or of another size; counts and names.
    """
    folders = {file.path.rpartition("/")[0] for file in snapshot.files}
    sizes: dict[str, int] = {}
    for folder in folders:
        for info in workspace.files(f"{LISTS}/{folder}"):
            sizes[workspace.name_of(info.path)] = info.size
    gone = [file.path for file in snapshot.files if sizes.get(f"{LISTS}/{file.path}") != file.bytes]
    if gone:
        raise PublishError(
            f"{len(gone):,} of the {len(snapshot.files):,} files of run {snapshot.run_id} of "
            f"{snapshot.run_date} are gone or changed, {gone[0]} first: nothing was published; "
            "score the users again (--force)"
        )


def _commit(
    workspace: Workspace, table: "DeltaTable", snapshot: Snapshot, number: int, restores: int | None
) -> Manifest:
    """Commit, and write the manifest.

    A commit also fails where others changed the table but not this run date: two jobs that create
    it at the same moment both write to its log, and so do Delta's own tools. Then it is tried again
    on the current table.

    Raises:
        PublishError: another job came first.
    """
    current: DeltaTable | None = table
    run_date = snapshot.run_date
    for _ in range(COMMIT_ATTEMPTS):
        if current is None or current_number(workspace, current, run_date) != number - 1:
            break
        if commit(workspace, current, snapshot, number, restores):
            finished = _finish_publication(workspace, open_table(workspace), run_date)
            return finished or read_manifest(workspace, run_date, number)
        current = open_table(workspace)
    raise _not_published(snapshot, "another job published or rolled it back at the same moment")


def _finish_publication(
    workspace: Workspace, table: "DeltaTable | None", run_date: date
) -> Manifest | None:
    """Write the manifest of the current publication, where a job died between its commit and that;
    return None where it is there.

    Raises:
        PublishError: the manifests are not those of this table.
    """
    number = current_number(workspace, table, run_date)
    last = manifest_numbers(workspace, run_date).get(run_date, [0])[-1]
    # Where the last is newer than `table`, another job may just have published: only the table
    # opened again can say.
    if last > number and last > publication_count(workspace, run_date):
        raise PublishError(
            f"{run_date}: the manifests in {workspace.uri}/{MANIFESTS} go up to number {last}, but "
            f"the Delta table counts {number}: it is not the table that they describe. Move them "
            "away, or restore the table that they belong to"
        )
    if table is None or last >= number:
        return None
    manifest = committed_manifest(workspace, run_date, number)
    if manifest is None:
        log.warning(
            "%s: the Delta log no longer describes number %d: it gets no manifest", run_date, number
        )
        return None
    write_manifest(workspace, manifest)
    return manifest


def _current_publication(
    workspace: Workspace, table: "DeltaTable", run_date: date, run_id: str
) -> Published:
    current = read_manifest(workspace, run_date, current_number(workspace, table, run_date))
    if current.run_id == run_id:
        return Published(current, is_new=False)
    raise PublishError(
        f"{run_date}: run {run_id} was published before, and replaced or rolled back since: run "
        f"{current.run_id} is active, as number {current.number}. A run is published once: score "
        "the users as another run (--force)"
    )


def _not_published(snapshot: Snapshot, why: str) -> PublishError:
    return PublishError(
        f"{snapshot.run_date}: run {snapshot.run_id} was not published: {why}. "
        "The active snapshot stays: `dualrec nights` shows it"
    )
