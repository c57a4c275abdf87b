"""Publishing a verified night, and rolling one back: the order of the steps, and who wins. Knows no
Parquet, no models.

First what stands is finished, then the Delta commit decides, then its manifest is written. A job
that dies in between leaves either nothing or a commit that the next job finishes; readers see whole
nights all the while.
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
    Night,
    number_before,
    numbers,
    read_manifest,
    write_manifest,
)
from dualrec.publishing.table import (
    commit,
    committed_manifest,
    is_committed,
    open_or_make_table,
    open_table,
    standing_number,
)
from dualrec.storage.workspace import Workspace

if TYPE_CHECKING:
    from deltalake import DeltaTable

TRIES = 5  # of a commit that failed though nobody published the night

log = logging.getLogger(__name__)


class Published(NamedTuple):
    """A night that stands, and whether this call published it; if not, it stood before."""

    manifest: Manifest
    anew: bool


class RolledBack(NamedTuple):
    """The publication that a rollback made, and the one that it took the place of."""

    manifest: Manifest
    replaced: Manifest


def publications(workspace: Workspace, run_date: date) -> int:
    """How often a night was published or rolled back so far: what a run notes when it starts, for
    `publish`.

    Raises:
        WorkspaceError: the store cannot be read.
    """
    return standing_number(workspace, open_table(workspace), run_date)


def standing_run(workspace: Workspace, run_date: date, run_id: str) -> Manifest | None:
    """The publication of a run that stands, its manifest written if that was left undone; None if
    it was never published.

    Raises:
        PublishError: the run was published before, and replaced or rolled back since.
        WorkspaceError: the store failed.
    """
    table = open_table(workspace)
    if table is None or not is_committed(workspace, table, run_date, run_id):
        return None
    _finish(workspace, table, run_date)
    return _already(workspace, table, run_date, run_id).manifest


def publish(
    workspace: Workspace, night: Night, replaces: int, settings: PublishSettings
) -> Published:
    """Make a verified night the one that readers see. Doing it again changes nothing.

    Args:
        replaces: what `publications` said when the run began, so that a job that was thought dead,
            and comes back,
            does not replace what was published meanwhile.

    Raises:
        PublishError: another run was published since this one began, or at this moment; this run
            was published before
            and replaced since; or a staged file is gone. What stands is left as it is.
        WorkspaceError: the store failed. Publishing the same night again finishes what was begun.
    """
    table = open_or_make_table(workspace, settings.retention_days)
    _finish(workspace, table, night.run_date)
    if is_committed(workspace, table, night.run_date, night.run_id):
        return _already(workspace, table, night.run_date, night.run_id)
    number = standing_number(workspace, table, night.run_date)
    if number != replaces:
        raise _lost(
            night,
            f"it was published by another run since this one began ({replaces} times then, {number} now)",
        )
    require_files(workspace, night)
    try:
        return Published(_commit(workspace, table, night, number + 1, None), anew=True)
    except PublishError:
        table = open_or_make_table(workspace, settings.retention_days)
        if not is_committed(workspace, table, night.run_date, night.run_id):
            raise
        _finish(workspace, table, night.run_date)  # the other job published this very run
        return _already(workspace, table, night.run_date, night.run_id)


def roll_back(workspace: Workspace, run_date: date) -> RolledBack:
    """Bring back the version before of one night, as a new publication. Nothing of the history is
    rewritten.

    A rollback that was cut off is finished, and no second one is done.

    Raises:
        PublishError: the night was never published, has no version before, the files of that are
            gone, or another job
            published it at this moment.
        WorkspaceError: the store failed.
    """
    table = open_table(workspace)
    number = standing_number(workspace, table, run_date)
    if table is None or number == 0:
        raise PublishError(
            f"{run_date} was never published in {workspace.uri}: `dualrec nights` lists what was"
        )
    finished = _finish(workspace, table, run_date)
    found = numbers(workspace, run_date).get(run_date, [])
    if finished is not None and finished.restores is not None:
        earlier = [one for one in found if one < number]
        return RolledBack(finished, read_manifest(workspace, run_date, earlier[-1]))
    standing = read_manifest(workspace, run_date, number)
    before = number_before(standing, found)
    if before is None:
        raise PublishError(
            f"{run_date} has no version before number {standing.number}: it was published once, or rolled back as far as it goes; "
            "score and publish it anew instead"
        )
    target = read_manifest(workspace, run_date, before)
    require_files(workspace, target)
    return RolledBack(_commit(workspace, table, target, number + 1, target.origin), standing)


def require_files(workspace: Workspace, night: Night) -> None:
    """Check that all files of a night are where they were, in their sizes.

    Raises:
        PublishError: one is gone or of another size; counts and names.
    """
    folders = {file.path.rpartition("/")[0] for file in night.files}
    sizes = {
        workspace.name_of(info.path): info.size
        for folder in folders
        for info in workspace.files(f"{LISTS}/{folder}")
    }
    gone = [file.path for file in night.files if sizes.get(f"{LISTS}/{file.path}") != file.bytes]
    if gone:
        raise PublishError(
            f"{len(gone):,} of the {len(night.files):,} files of run {night.run_id} of {night.run_date} are gone or changed, "
            f"{gone[0]} first: nothing was published; score the night anew"
        )


def _commit(
    workspace: Workspace, table: "DeltaTable", night: Night, number: int, restores: int | None
) -> Manifest:
    """Commit, and write the manifest.

    A commit also fails where others changed the table but not this night: two jobs that make it at
    the same moment both leave their mark in its log, and so do Delta's own tools. Then it is tried
    again on the table as it is now.

    Raises:
        PublishError: another job came first.
    """
    current: DeltaTable | None = table
    for _ in range(TRIES):
        if current is None or standing_number(workspace, current, night.run_date) != number - 1:
            break
        if commit(workspace, current, night, number, restores):
            finished = _finish(workspace, open_table(workspace), night.run_date)
            return finished or read_manifest(workspace, night.run_date, number)
        current = open_table(workspace)
    raise _lost(night, "another job published or rolled back this night at the same moment")


def _finish(workspace: Workspace, table: "DeltaTable | None", run_date: date) -> Manifest | None:
    """Write the manifest of what stands, where a job died between its commit and that; None where
    it is there.

    Raises:
        PublishError: the manifests are not those of this table.
    """
    number = standing_number(workspace, table, run_date)
    last = numbers(workspace, run_date).get(run_date, [0])[-1]
    # Where the last is newer than `table`, another job may just have published: only a fresh look
    # tells.
    if last > number and last > publications(workspace, run_date):
        raise PublishError(
            f"{run_date}: the manifests in {workspace.uri}/{MANIFESTS} go up to number {last}, but the Delta table counts "
            f"{number}: it is not the table that they describe. Move them away, or bring back the table of before"
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


def _already(workspace: Workspace, table: "DeltaTable", run_date: date, run_id: str) -> Published:
    standing = read_manifest(workspace, run_date, standing_number(workspace, table, run_date))
    if standing.run_id == run_id:
        return Published(standing, anew=False)
    raise PublishError(
        f"{run_date}: run {run_id} was published before, and replaced or rolled back since: run {standing.run_id} "
        f"stands, as number {standing.number}. A run is published once: score the night as another run (--force)"
    )


def _lost(night: Night, why: str) -> PublishError:
    return PublishError(
        f"{night.run_date}: run {night.run_id} was not published: {why}. What stands is as it was: `dualrec nights` shows it"
    )
