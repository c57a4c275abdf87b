"""Where artefacts lie, under one URI: a local folder or s3://bucket/prefix. Knows files, not what is in them.

An artefact is a folder that appears whole or not at all: it is written beside its place, then moved there with
`artefact.json`, which says what made it. A folder without that file does not count.
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from dualrec import __version__
from dualrec.errors import WorkspaceError
from dualrec.schemas import conform

MARKER = "artefact.json"


def file_system(uri: str) -> tuple[pafs.FileSystem, str]:
    """Return the file system of a local path or an s3:// URI, and the path in it.

    An S3 endpoint other than Amazon's is named by AWS_ENDPOINT_URL; credentials come by the usual AWS ways.
    """
    parsed = urlparse(uri)
    if parsed.scheme == "s3":
        endpoint = urlparse(os.environ.get("AWS_ENDPOINT_URL", ""))
        options = {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme} if endpoint.netloc else {}
        return pafs.S3FileSystem(**options), f"{parsed.netloc}{parsed.path}".rstrip("/")
    if parsed.scheme not in ("", "file"):
        raise WorkspaceError(f"workspace {uri}: expected a folder or s3://bucket/prefix")
    return pafs.LocalFileSystem(), str(Path(parsed.path if parsed.scheme else uri).expanduser().absolute())


class Workspace:
    """All artefacts under one URI.

    Attributes:
        uri: the root, as given or made absolute.
        filesystem, root: the same for pyarrow and Ray Data.
    """

    def __init__(self, uri: str) -> None:
        self.filesystem, self.root = file_system(uri)
        self.is_local = isinstance(self.filesystem, pafs.LocalFileSystem)
        self.uri = self.root if self.is_local else uri.rstrip("/")

    def path(self, name: str) -> str:
        """The path of an artefact's folder, for `filesystem`."""
        return f"{self.root}/{name}"

    def name_of(self, path: str) -> str:
        """The name of a folder that `path` or `writing` gave."""
        return path.removeprefix(f"{self.root}/")

    def has(self, name: str) -> bool:
        """Whether the artefact is there, whole."""
        return self.filesystem.get_file_info(f"{self.path(name)}/{MARKER}").type == pafs.FileType.File

    def description(self, name: str) -> dict[str, Any]:
        """What made the artefact, as its writer noted it.

        Raises:
            WorkspaceError: it is not there.
        """
        return dict(json.loads(self.read_bytes(f"{name}/{MARKER}")))

    def newest(self, kind: str, made_from: dict[str, str]) -> str | None:
        """The artefact under the folder `kind` that was made last with these values in its description."""
        selector = pafs.FileSelector(self.path(kind), recursive=False, allow_not_found=True)
        names = [f"{kind}/{info.base_name}" for info in self.filesystem.get_file_info(selector)]
        found = []
        for name in filter(self.has, names):
            description = self.description(name)
            if all(description.get(key) == value for key, value in made_from.items()):
                found.append((description["made"], name))
        return max(found)[1] if found else None

    def require(self, name: str, made_by: str) -> str:
        """Return the artefact's path.

        Raises:
            WorkspaceError: it is not there; says which job makes it.
        """
        if not self.has(name):
            raise WorkspaceError(
                f"{self.uri}/{name} is not there: run `dualrec {made_by}` first, with the same settings "
                "(another data source, seed or network makes another version)"
            )
        return self.path(name)

    @contextmanager
    def writing(self, name: str, description: dict[str, Any]) -> Iterator[str]:
        """Give a fresh folder to write in; on leaving without an error it becomes the artefact `name`.

        `description` is written as the artefact's marker, and may be filled in meanwhile. After an error the folder
        is removed, and an earlier artefact of that name stays as it was.

        Raises:
            WorkspaceError: the workspace cannot be written.
        """
        staging = f"{self.root}/.staging/{uuid.uuid4().hex}"
        self._make_folder(staging)
        try:
            yield staging
            description = {"artefact": name, "dualrec": __version__, "made": _now(), **description}
            with self.filesystem.open_output_stream(f"{staging}/{MARKER}") as stream:
                stream.write(json.dumps(description, indent=2, default=str).encode())
            self._move(staging, self.path(name))
        finally:
            if self.filesystem.get_file_info(staging).type == pafs.FileType.Directory:
                self.filesystem.delete_dir(staging)

    def write_table(self, table: pa.Table, path: str) -> None:
        """Write one Parquet file at a path that `writing` gave."""
        pq.write_table(table, path, filesystem=self.filesystem)

    def read_table(self, name: str, schema: pa.Schema, columns: list[str] | None = None) -> pa.Table:
        """Read all Parquet files of a folder as one table of `schema`, or of some of its columns.

        Raises:
            WorkspaceError: the folder is not there.
            InputError: a column is missing or of another type.
        """
        files = self.parquet_files(name)
        if not files:
            raise WorkspaceError(f"{self.uri}/{name} is not there, or holds no Parquet file")
        read = partial(pq.read_table, filesystem=self.filesystem, columns=columns, partitioning=None)
        wanted = pa.schema([schema.field(column) for column in columns or schema.names])
        return conform(pa.concat_tables(map(read, files)), wanted, f"{self.uri}/{name}")

    def read_bytes(self, name: str) -> bytes:
        """Read one file.

        Raises:
            WorkspaceError: it is not there.
        """
        try:
            with self.filesystem.open_input_stream(self.path(name)) as stream:
                return bytes(stream.read())
        except FileNotFoundError as error:
            raise WorkspaceError(f"{self.uri}/{name} is not there") from error

    def parquet_files(self, name: str) -> list[str]:
        """The Parquet files of a folder and those below it, sorted, as paths of `filesystem`."""
        selector = pafs.FileSelector(self.path(name), recursive=True, allow_not_found=True)
        files = self.filesystem.get_file_info(selector)
        return sorted(info.path for info in files if info.path.endswith(".parquet"))

    def _make_folder(self, path: str) -> None:
        try:
            self.filesystem.create_dir(path, recursive=True)
        except OSError as error:
            raise WorkspaceError(
                f"workspace {self.uri} cannot be written ({error}): "
                "name another with --set workspace=FOLDER, or mend its permissions"
            ) from error

    def _move(self, source: str, target: str) -> None:
        self._make_folder(target.rpartition("/")[0])
        if self.is_local:
            replaced = f"{source}.replaced"
            if Path(target).exists():
                os.rename(target, replaced)
            os.rename(source, target)
            shutil.rmtree(replaced, ignore_errors=True)
            return
        if self.filesystem.get_file_info(target).type == pafs.FileType.Directory:
            self.filesystem.delete_dir(target)
        files = self.filesystem.get_file_info(pafs.FileSelector(source, recursive=True))
        for info in sorted(files, key=lambda info: info.path.endswith(MARKER)):  # the marker last
            if info.type == pafs.FileType.File:
                place = target + info.path.removeprefix(source)
                self.filesystem.create_dir(place.rpartition("/")[0], recursive=True)
                self.filesystem.copy_file(info.path, place)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
