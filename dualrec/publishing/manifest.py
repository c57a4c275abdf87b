"""Manifests: they name the files of a published snapshot. Written once, numbered, never changed; of
each run date the highest number is current.

A reader of plain Parquet lists `recommendations/_manifests/run_date=D/`, takes the last file, and
reads the files that it names: always one whole snapshot. Knows files and their description; not
Delta, nor when to publish.
"""

import re
from datetime import date, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from dualrec.errors import PublishError
from dualrec.storage.filesystems import map_in_threads
from dualrec.storage.workspace import Workspace

LISTS = "recommendations"  # the published table
TRACES = "traces"  # its sibling: one row a scored user, staged beside it
USERS = "users"  # another: the history behind each user's list
MANIFESTS = f"{LISTS}/_manifests"  # readers of whole folders skip names that begin with _

_NUMBERED = re.compile(r"run_date=(\d{4}-\d\d-\d\d)/(\d{8})\.json$")
_RUN_ID = re.compile(r"[0-9A-Za-z_-]{1,80}")


class _Record(BaseModel):
    """Read back from JSON: frozen; fields that a later version adds are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class PublishedFile(_Record):
    """One Parquet file of a snapshot; its path is relative to the recommendations folder."""

    path: str
    rows: int
    bytes: int
    sha256: str


class Snapshot(_Record):
    """The lists of one run date, as a run hands them to publishing.

    Attributes:
        run_id: the run that wrote it; letters, digits, - and _. Published once.
        models: name to version of the models behind it.
        metrics, cost: what the job measured and spent, in its own terms. Never keys.
    """

    run_date: date
    run_id: str
    users: int
    rows: int
    files: tuple[PublishedFile, ...]
    models: dict[str, str]
    settings_hash: str
    metrics: dict[str, Any]
    cost: dict[str, Any]


class Manifest(Snapshot):
    """A published snapshot.

    Attributes:
        number: counts the publications of this date from 1, rollbacks included.
        restores: the number of the publication that was rolled back to; None where it was published
            for the first time.
        delta_version: the version of the Delta table in which it appeared.
        published: when.
    """

    number: int
    restores: int | None
    delta_version: int
    published: datetime

    @property
    def origin(self) -> int:
        """Return the number under which these files were first published."""
        return self.restores or self.number

    def folder(self, table: str) -> str:
        """Return where its run staged a table, in the workspace."""
        return f"{table}/{self.files[0].path.rpartition('/')[0]}"


def staging_folder(run_date: date, run_id: str, table: str = LISTS) -> str:
    """Return where a run stages its lists, or another table, in the workspace. No reader sees them
    before they are committed.

    Raises:
        PublishError: the run id holds other characters than letters, digits, - and _.
    """
    if not _RUN_ID.fullmatch(run_id):
        raise PublishError(f"run id {run_id!r}: expected 1 to 80 letters, digits, - and _")
    return f"{table}/run_date={run_date}/night-{run_id}"


def manifest_name(run_date: date, number: int) -> str:
    """Return where the manifest of a publication lies in the workspace."""
    return f"{MANIFESTS}/run_date={run_date}/{number:08d}.json"


def write_manifest(workspace: Workspace, manifest: Manifest) -> None:
    """Write a manifest by a conditional put: all jobs that finish a publication write the same
    bytes.

    Raises:
        PublishError: another manifest has this number.
        WorkspaceError: it cannot be written.
    """
    name = manifest_name(manifest.run_date, manifest.number)
    if not workspace.put_once(name, manifest.model_dump_json(indent=2).encode()):
        raise PublishError(
            f"{workspace.uri}/{name} is there and describes another publication than the Delta "
            "table does: somebody changed one of them by hand; nothing was overwritten"
        )


def manifest_numbers(workspace: Workspace, run_date: date | None = None) -> dict[date, list[int]]:
    """List the manifest numbers of each run date, or of one, ascending; dates ascend as well."""
    folder = MANIFESTS if run_date is None else f"{MANIFESTS}/run_date={run_date}"
    numbers: dict[date, list[int]] = {}
    for info in workspace.files(folder):
        if match := _NUMBERED.search(info.path):
            numbers.setdefault(date.fromisoformat(match[1]), []).append(int(match[2]))
    return numbers


def read_manifest(workspace: Workspace, run_date: date, number: int) -> Manifest:
    """Read one manifest.

    Raises:
        WorkspaceError: it is not there.
        PublishError: its content is no manifest.
    """
    name = manifest_name(run_date, number)
    try:
        return Manifest.model_validate_json(workspace.read_bytes(name))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise PublishError(
            f"{workspace.uri}/{name} is no manifest: {where}: {first['msg']}; "
            "restore it from a copy"
        ) from error


def current_manifest(workspace: Workspace, run_date: date) -> Manifest | None:
    """Read the current manifest of a run date; None where it was never published."""
    numbers = manifest_numbers(workspace, run_date).get(run_date)
    return read_manifest(workspace, run_date, numbers[-1]) if numbers else None


def current_manifests(workspace: Workspace) -> list[Manifest]:
    """Read the current manifest of each published run date, oldest date first."""
    last = [(run_date, numbers[-1]) for run_date, numbers in manifest_numbers(workspace).items()]
    return list(map_in_threads(lambda named: read_manifest(workspace, *named), last))


def latest_publication(workspace: Workspace, before: date | None = None) -> tuple[date, int] | None:
    """Find run date and number of the current manifest of the last published run date, of those
    before a date if it is given; None where there is none."""
    numbers = manifest_numbers(workspace)
    dates = [run_date for run_date in numbers if before is None or run_date < before]
    return (max(dates), numbers[max(dates)][-1]) if dates else None


def latest_manifest(workspace: Workspace, before: date | None = None) -> Manifest | None:
    """Read the manifest of `latest_publication`; None where there is none."""
    latest = latest_publication(workspace, before)
    return read_manifest(workspace, *latest) if latest else None


def previous_number(manifest: Manifest, numbers: list[int]) -> int | None:
    """Return the number of the previous version: the last before the first publication of these
    files. None where there is none.

    So rolling back twice goes back two versions, and never to the one that was rolled back from.
    """
    return max((number for number in numbers if number < manifest.origin), default=None)


def published_paths(workspace: Workspace, manifest: Manifest) -> list[str]:
    """Return the Parquet files of a published snapshot, as paths of the workspace's file system,
    for pyarrow or Ray Data."""
    return [workspace.path(f"{LISTS}/{file.path}") for file in manifest.files]
