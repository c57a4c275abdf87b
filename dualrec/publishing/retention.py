"""Clean-up: what no reader can hold any more. Knows nothing of scoring; call it after publishing.

Kept for ever: the files of every night that stands, and of its version before, so that a rollback
finds them. Removed
once they are older than the retention time: versions replaced since, and staging that never came to
be published.
"""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

from dualrec.publishing.manifest import (
    LISTS,
    TRACES,
    USERS,
    Manifest,
    manifest_name,
    number_before,
    numbers,
    read_manifest,
)
from dualrec.publishing.table import open_table, standing_paths
from dualrec.storage.filesystems import translate_storage_errors
from dualrec.storage.workspace import Workspace

STAGING = ".staging"  # copies of local data for the time in which the nodes read them


def clean_up(workspace: Workspace, retention_days: int, now: datetime | None = None) -> list[str]:
    """Remove what is older than the retention time and in no reader's hands.

    Args:
        now: the time to reckon from; None: the present.

    Returns:
        The names of the folders that were removed.

    Raises:
        WorkspaceError: the store failed; what was not removed is found again the next time.
        PublishError: a manifest cannot be read.
    """
    limit = (now or datetime.now(UTC)) - timedelta(days=retention_days)
    table = open_table(workspace)
    kept = (
        set()
        if table is None
        else {path.rpartition("/")[0] for path in standing_paths(workspace, table)}
    )
    for run_date, found in numbers(workspace).items():
        kept |= _keep_and_forget(workspace, run_date, found, limit)
    nights = [
        f"{name}/{night}/{run}"
        for name in (LISTS, TRACES, USERS)
        for night in workspace.folders(name)
        for run in workspace.folders(f"{name}/{night}")
        if night.startswith("run_date=")
        and run.startswith("night-")
        and f"{night}/{run}" not in kept
    ]
    staging = [f"{STAGING}/{folder}" for folder in workspace.folders(STAGING)]
    removed = [folder for folder in nights + staging if last_written(workspace, folder) < limit]
    for folder in removed:
        workspace.remove(folder)
    return removed


def _keep_and_forget(
    workspace: Workspace, run_date: date, found: list[int], limit: datetime
) -> set[str]:
    """Delete the manifests of versions that were replaced before the limit; return the folders of
    the others."""
    manifests = [read_manifest(workspace, run_date, number) for number in found]
    standing = manifests[-1]
    held = {standing.number, number_before(standing, found)}
    for manifest, successor in pairwise(manifests):
        if successor.published >= limit:
            held.add(manifest.number)
    for manifest in manifests:
        if manifest.number not in held:
            _forget(workspace, manifest)
    return {
        file.path.rpartition("/")[0]
        for manifest in manifests
        if manifest.number in held
        for file in manifest.files
    }


def _forget(workspace: Workspace, manifest: Manifest) -> None:
    """Delete a manifest; before the files, so that none names what is gone."""
    name = manifest_name(manifest.run_date, manifest.number)
    with translate_storage_errors(f"{workspace.uri}/{name}"):
        workspace.filesystem.delete_file(workspace.path(name))


def last_written(workspace: Workspace, folder: str) -> datetime:
    """When something was last written there. An empty folder of S3 has no time, and nobody needs
    it."""
    times = [info.mtime for info in workspace.files(folder)]
    if not times:
        with translate_storage_errors(f"{workspace.uri}/{folder}"):
            times = [workspace.filesystem.get_file_info(workspace.path(folder)).mtime]
    return max(
        (time for time in times if time is not None), default=datetime.min.replace(tzinfo=UTC)
    )
