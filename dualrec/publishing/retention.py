"""Deletes what no reader can be using any more. Knows nothing of scoring; call it after publishing.

Never deleted: the files of every active snapshot, and of its previous version, so that a rollback
finds them. Deleted once they are older than the retention time: versions replaced since, and
staging that was never published.
"""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

from dualrec.publishing.manifest import (
    LISTS,
    TRACES,
    USERS,
    Manifest,
    manifest_name,
    manifest_numbers,
    previous_number,
    read_manifest,
)
from dualrec.publishing.table import current_paths, open_table
from dualrec.storage.filesystems import translate_storage_errors
from dualrec.storage.workspace import Workspace

STAGING = ".staging"  # copies of local data for the time in which the nodes read them


def clean_up(workspace: Workspace, retention_days: int, now: datetime | None = None) -> list[str]:
    """Delete what is older than the retention time and not in use.

    Args:
        now: the time to count from; None: the present.

    Returns:
        The names of the deleted folders.

    Raises:
        WorkspaceError: the store failed; what was not deleted will be the next time.
        PublishError: a manifest cannot be read.
    """
    limit = (now or datetime.now(UTC)) - timedelta(days=retention_days)
    table = open_table(workspace)
    in_use: set[str] = set()
    if table is not None:
        in_use = {path.rpartition("/")[0] for path in current_paths(workspace, table)}
    for run_date, numbers in manifest_numbers(workspace).items():
        in_use |= _delete_old_manifests(workspace, run_date, numbers, limit)
    unused = []
    for name in (LISTS, TRACES, USERS):
        for run in _staged_runs(workspace, name):
            if run not in in_use:
                unused.append(f"{name}/{run}")
    unused += [f"{STAGING}/{folder}" for folder in workspace.folders(STAGING)]
    expired = [folder for folder in unused if last_written(workspace, folder) < limit]
    for folder in expired:
        workspace.remove(folder)
    return expired


def _staged_runs(workspace: Workspace, table: str) -> list[str]:
    """List the folders run_date=D/night-RUN of a table."""
    runs = []
    for run_date in workspace.folders(table):
        if run_date.startswith("run_date="):
            for run in workspace.folders(f"{table}/{run_date}"):
                if run.startswith("night-"):
                    runs.append(f"{run_date}/{run}")
    return runs


def _delete_old_manifests(
    workspace: Workspace, run_date: date, numbers: list[int], limit: datetime
) -> set[str]:
    """Delete the manifests of versions that were replaced before the limit; return the folders of
    the others."""
    manifests = [read_manifest(workspace, run_date, number) for number in numbers]
    current = manifests[-1]
    needed = {current.number, previous_number(current, numbers)}
    for manifest, successor in pairwise(manifests):
        if successor.published >= limit:
            needed.add(manifest.number)
    folders: set[str] = set()
    for manifest in manifests:
        if manifest.number in needed:
            folders |= {file.path.rpartition("/")[0] for file in manifest.files}
        else:
            _delete_manifest(workspace, manifest)
    return folders


def _delete_manifest(workspace: Workspace, manifest: Manifest) -> None:
    """Delete a manifest; before its files, so that none names missing files."""
    name = manifest_name(manifest.run_date, manifest.number)
    with translate_storage_errors(f"{workspace.uri}/{name}"):
        workspace.filesystem.delete_file(workspace.path(name))


def last_written(workspace: Workspace, folder: str) -> datetime:
    """Return when something was last written to a folder; the earliest time there is for an empty
    folder of S3, which has none."""
    times = [info.mtime for info in workspace.files(folder)]
    if not times:
        with translate_storage_errors(f"{workspace.uri}/{folder}"):
            times = [workspace.filesystem.get_file_info(workspace.path(folder)).mtime]
    return max(
        (time for time in times if time is not None), default=datetime.min.replace(tzinfo=UTC)
    )
