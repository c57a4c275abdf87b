"""Manifests: which files are a published night. Written once, numbered, never changed; the highest
number stands.

A reader of plain Parquet lists `recommendations/_manifests/run_date=D/`, takes the last file, and
reads the files that
it names: always one whole night. Knows files and their description; not Delta, nor when to publish.
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
USERS = "users"  # another: which history each user's list was made from
MANIFESTS = f"{LISTS}/_manifests"  # readers of whole folders skip names that begin with _

_NUMBERED = re.compile(r"run_date=(\d{4}-\d\d-\d\d)/(\d{8})\.json$")
_RUN_ID = re.compile(r"[0-9A-Za-z_-]{1,80}")


class _Written(BaseModel):
    """What is read back from JSON: frozen; fields that a later version adds are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class PublishedFile(_Written):
    """One Parquet file of a night; its path is that in the recommendations folder."""

    path: str
    rows: int
    bytes: int
    sha256: str


class Night(_Written):
    """What a run offers for publishing.

    Attributes:
        run_date: the night.
        run_id: the run that made it: what it was made from and how; letters, digits, - and _.
            Published once.
        models: name to version of the models that made it.
        metrics, cost: what the job measured and spent, as it likes to say it. Never keys.
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


class Manifest(Night):
    """A published night.

    Attributes:
        number: counts the publications of this date from 1, rollbacks included.
        restores: the number of the publication that a rollback brought back; None where it was
            published anew.
        delta_version: the version of the Delta table in which it appeared.
        published: when.
    """

    number: int
    restores: int | None
    delta_version: int
    published: datetime

    @property
    def origin(self) -> int:
        """The number under which these files were first published."""
        return self.restores or self.number

    def folder(self, table: str) -> str:
        """Where its run staged a table, in the workspace."""
        return f"{table}/{self.files[0].path.rpartition('/')[0]}"


def night_folder(run_date: date, run_id: str, table: str = LISTS) -> str:
    """Where a run stages its lists, or its traces, in the workspace. No reader sees them before
    they are committed.

    Raises:
        PublishError: the run id holds other characters than letters, digits, - and _.
    """
    if not _RUN_ID.fullmatch(run_id):
        raise PublishError(f"run id {run_id!r}: expected 1 to 80 letters, digits, - and _")
    return f"{table}/run_date={run_date}/night-{run_id}"


def manifest_name(run_date: date, number: int) -> str:
    """Where the manifest of a publication lies in the workspace."""
    return f"{MANIFESTS}/run_date={run_date}/{number:08d}.json"


def write_manifest(workspace: Workspace, manifest: Manifest) -> None:
    """Write a manifest by a conditional put: whoever finishes a publication writes the same bytes,
    and one does.

    Raises:
        PublishError: another manifest has this number.
        WorkspaceError: it cannot be written.
    """
    name = manifest_name(manifest.run_date, manifest.number)
    if not workspace.put_once(name, manifest.model_dump_json(indent=2).encode()):
        raise PublishError(
            f"{workspace.uri}/{name} is there and describes another publication than the Delta table does: "
            "somebody changed one of them by hand; nothing was overwritten"
        )


def numbers(workspace: Workspace, run_date: date | None = None) -> dict[date, list[int]]:
    """The numbers of the manifests of each date, or of one, in growing order; dates grow as well."""
    folder = MANIFESTS if run_date is None else f"{MANIFESTS}/run_date={run_date}"
    found: dict[date, list[int]] = {}
    for info in workspace.files(folder):
        if match := _NUMBERED.search(info.path):
            found.setdefault(date.fromisoformat(match[1]), []).append(int(match[2]))
    return found


def read_manifest(workspace: Workspace, run_date: date, number: int) -> Manifest:
    """Read one manifest.

    Raises:
        WorkspaceError: it is not there.
        PublishError: it is none.
    """
    name = manifest_name(run_date, number)
    try:
        return Manifest.model_validate_json(workspace.read_bytes(name))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise PublishError(
            f"{workspace.uri}/{name} is no manifest: {where}: {first['msg']}; restore it from a copy"
        ) from error


def standing_manifest(workspace: Workspace, run_date: date) -> Manifest | None:
    """The manifest that stands for a date; None where that night was never published."""
    found = numbers(workspace, run_date).get(run_date)
    return read_manifest(workspace, run_date, found[-1]) if found else None


def standing_manifests(workspace: Workspace) -> list[Manifest]:
    """The manifest that stands for each published date, oldest date first."""
    last = [(run_date, found[-1]) for run_date, found in numbers(workspace).items()]
    return list(map_in_threads(lambda place: read_manifest(workspace, *place), last))


def last_standing(workspace: Workspace, before: date | None = None) -> Manifest | None:
    """The manifest that stands for the last published date, of those before one if it is given;
    None where there is none."""
    found = {
        day: published
        for day, published in numbers(workspace).items()
        if before is None or day < before
    }
    return read_manifest(workspace, max(found), found[max(found)][-1]) if found else None


def number_before(manifest: Manifest, found: list[int]) -> int | None:
    """The number of the version before: that before the first publication of these files. None
    where there is none.

    So rolling back twice goes back two versions, and never brings back the night that was rolled
    back from.
    """
    return max((number for number in found if number < manifest.origin), default=None)


def published_paths(workspace: Workspace, manifest: Manifest) -> list[str]:
    """The Parquet files of a published night, as paths of the workspace's file system, for pyarrow
    or Ray Data."""
    return [workspace.path(f"{LISTS}/{file.path}") for file in manifest.files]
