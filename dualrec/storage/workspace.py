"""The artifacts of a workspace, a local folder or s3://bucket/prefix. Knows files, not their content.

An artifact is written where it stays: in a folder of its own for each attempt, `NAME/attempt-ID/`.
It counts once its marker `NAME.artifact.json` is there, which is written last and names the attempt
and its files. Nothing is moved or copied, so one marker makes the whole artifact visible at once,
on a disk as on S3. The marker lies beside the folder, so that any reader of Parquet can be pointed
at the attempt.
"""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from dualrec import __version__
from dualrec.config.settings import Settings, StoreSettings
from dualrec.errors import WorkspaceError
from dualrec.storage.filesystems import advice, file_system, plain, put_once, told
from dualrec.storage.schemas import conform

MARKER = ".artifact.json"  # after the name of an artifact
ATTEMPT = "attempt-"


class Workspace:
    """All artifacts under one URI.

    Attributes:
        uri: the root, as given or made absolute.
        filesystem, root: the same for pyarrow and Ray Data.
        store: time-outs and retries of object storage.
    """

    def __init__(self, uri: str, store: StoreSettings = StoreSettings()) -> None:
        self.store = store
        self.filesystem, self.root = file_system(uri, store)
        self.is_local = isinstance(self.filesystem, pafs.LocalFileSystem)
        self.uri = self.root if self.is_local else uri.rstrip("/")

    @classmethod
    def of(cls, settings: Settings) -> "Workspace":
        """Open the workspace that the settings name, with their time-outs and retries.

        Raises:
            WorkspaceError: an earlier version of dualrec wrote it, in another layout.
        """
        workspace = cls(settings.workspace, settings.network.store)
        with told(workspace.uri):
            earlier = workspace.filesystem.get_file_info(workspace.path("catalogue"))
        if earlier.type == pafs.FileType.Directory:
            raise WorkspaceError(
                f"workspace {workspace.uri} was written by an earlier version of dualrec, in a layout "
                "that this one does not read: name a new one with --set workspace=PATH"
            )
        return workspace

    def path(self, name: str) -> str:
        """Return the path of a file or folder of the workspace, for `filesystem`."""
        return f"{self.root}/{name}"

    def name_of(self, path: str) -> str:
        """Return the name of what `path` or `writing` gave the path of."""
        return path.removeprefix(f"{self.root}/")

    def has(self, name: str) -> bool:
        """Return whether the artifact is there, whole."""
        return self.has_file(f"{name}{MARKER}")

    def has_file(self, name: str) -> bool:
        """Whether there is a file of that name."""
        with told(f"{self.uri}/{name}"):
            return bool(self.filesystem.get_file_info(self.path(name)).type == pafs.FileType.File)

    def description(self, name: str) -> dict[str, Any]:
        """Return what an artifact's writer noted of it.

        Raises:
            WorkspaceError: the artifact is not there.
        """
        return dict(json.loads(self.read_bytes(f"{name}{MARKER}")))

    def content(self, name: str) -> str:
        """Return the folder that holds an artifact's files, as a name of the workspace.

        Raises:
            WorkspaceError: the artifact is not there.
        """
        return f"{name}/{self.description(name)['attempt']}"

    def newest(self, kind: str, made_from: dict[str, str]) -> str | None:
        """Return the artifact of a kind that was written last with these values in its description."""
        matches = []
        for folder in self.folders(kind):
            name = f"{kind}/{folder}"
            if not self.has(name):
                continue
            description = self.description(name)
            if all(description.get(key) == value for key, value in made_from.items()):
                matches.append((description["made"], name))
        return max(matches)[1] if matches else None

    def require(self, name: str, made_by: str) -> None:
        """Check that an artifact is there.

        Raises:
            WorkspaceError: it is not; the message names the job that writes it.
        """
        if not self.has(name):
            raise WorkspaceError(
                f"{self.uri}/{name} is not there: run `dualrec {made_by}` first, with the same settings "
                "(another data source, seed or network makes another version)"
            )

    @contextmanager
    def writing(self, name: str, description: dict[str, Any]) -> Iterator[str]:
        """Yield the path of a fresh folder; on leaving without an error it becomes the artifact.

        Of two writers that begin where no artifact is, the first to finish wins, and the other's
        files are deleted. A writer that begins where one is replaces it: the marker is overwritten
        at once, then the earlier files are deleted, and who reads them at that moment fails. After
        an error the folder is deleted, and an earlier artifact stays.

        Args:
            description: written into the marker; may be filled in until the block is left.

        Raises:
            WorkspaceError: the workspace cannot be written.
        """
        earlier = self.description(name).get("attempt") if self.has(name) else None
        attempt = f"{ATTEMPT}{uuid.uuid4().hex[:12]}"
        folder = self.path(f"{name}/{attempt}")
        self._make_folder(folder)
        superseded: str | None = attempt
        try:
            yield folder
            marker = {
                "artifact": name,
                "dualrec": __version__,
                "made": datetime.now(UTC).isoformat(timespec="seconds"),
                **description,
                "attempt": attempt,
                "files": self._sizes(f"{name}/{attempt}"),
            }
            content = json.dumps(marker, indent=2, default=str).encode()
            if earlier is None:
                superseded = None if self.put_once(f"{name}{MARKER}", content) else attempt
            else:
                self.write_bytes(f"{name}{MARKER}", content)
                superseded = earlier
        finally:
            # A store that fails now must not hide why; clean-up deletes what is left later.
            with suppress(OSError, WorkspaceError):
                if superseded:
                    self.remove(f"{name}/{superseded}")

    def abandoned_attempts(self, kind: str) -> list[str]:
        """Return the folders of attempts of a kind of artifact that no marker names.

        They are of writers that were killed, or are at work now.
        """
        abandoned = []
        for info in self._listed(kind, recursive=True):
            if info.type == pafs.FileType.Directory and info.base_name.startswith(ATTEMPT):
                attempt = self.name_of(info.path)
                name = attempt.rpartition("/")[0]
                if not self.has(name) or self.content(name) != attempt:
                    abandoned.append(attempt)
        return sorted(abandoned)

    def write_table(self, table: pa.Table, path: str) -> None:
        """Write one Parquet file at a path that `writing` gave."""
        pq.write_table(table, path, filesystem=self.filesystem)

    def read_table(
        self, name: str, schema: pa.Schema, columns: list[str] | None = None
    ) -> pa.Table:
        """Read all Parquet files of a folder as one table of `schema`, or of some of its columns.

        Raises:
            WorkspaceError: the folder is not there.
            InputError: a column is missing or of another type.
        """
        files = self.parquet_files(name)
        if not files:
            raise WorkspaceError(f"{self.uri}/{name} is not there, or holds no Parquet file")
        read = partial(
            pq.read_table, filesystem=self.filesystem, columns=columns, partitioning=None
        )
        wanted = pa.schema([schema.field(column) for column in columns or schema.names])
        return conform(pa.concat_tables(map(read, files)), wanted, f"{self.uri}/{name}")

    def read_bytes(self, name: str) -> bytes:
        """Read one file.

        Raises:
            WorkspaceError: it is not there.
        """
        with self.reading(name) as stream:
            return bytes(stream.read())

    @contextmanager
    def reading(self, name: str, at_a_time: int | None = None) -> Iterator[pa.NativeFile]:
        """One file, to be read from its beginning to its end.

        Args:
            at_a_time: bytes of each request to the store, however few the reader takes.

        Raises:
            WorkspaceError: it is not there.
        """
        with told(f"{self.uri}/{name}"):
            try:
                with self.filesystem.open_input_stream(
                    self.path(name), buffer_size=at_a_time
                ) as stream:
                    yield stream
            except FileNotFoundError as error:
                raise WorkspaceError(f"{self.uri}/{name} is not there") from error

    def put_once(self, name: str, content: bytes) -> bool:
        """Write a small file where none is yet, whole or not at all; of several writers, one wins.

        Returns:
            Whether the file now holds `content`: False where other content was there first, which
            stays.

        Raises:
            WorkspaceError: it cannot be written.
        """
        with told(f"{self.uri}/{name}"):
            return put_once(self.filesystem, self.path(name), content)

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write one small file, whole or not at all, over what is there."""
        path = self.path(name)
        # S3 shows a file once it is whole.
        draft = f"{path}.{uuid.uuid4().hex}" if self.is_local else path
        self._make_folder(path.rpartition("/")[0])
        with told(f"{self.uri}/{name}"):
            with self.filesystem.open_output_stream(draft) as stream:
                stream.write(content)
            if self.is_local:
                os.replace(draft, path)

    def parquet_files(self, name: str) -> list[str]:
        """Return the Parquet files of a folder and below it, sorted, as paths of `filesystem`."""
        return [info.path for info in self.files(name) if info.path.endswith(".parquet")]

    def files(self, name: str) -> list[pafs.FileInfo]:
        """Return all files of a folder and below it, sorted by path; none without such a folder."""
        infos = self._listed(name, recursive=True)
        files = [info for info in infos if info.type == pafs.FileType.File]
        return sorted(files, key=lambda info: info.path)

    def folders(self, name: str) -> list[str]:
        """Return the base names of the folders right under a folder, sorted."""
        infos = self._listed(name, recursive=False)
        return sorted(info.base_name for info in infos if info.type == pafs.FileType.Directory)

    def remove(self, name: str) -> None:
        """Delete a folder and all in it, an artifact's marker first; do nothing where none is there.

        Raises:
            WorkspaceError: it cannot be deleted.
        """
        paths = [self.path(f"{name}{MARKER}"), self.path(name)]
        with told(f"{self.uri}/{name}"):
            marker, folder = self.filesystem.get_file_info(paths)
            if marker.type == pafs.FileType.File:
                self.filesystem.delete_file(marker.path)
            if folder.type == pafs.FileType.Directory:
                self.filesystem.delete_dir(folder.path)

    def _sizes(self, folder: str) -> dict[str, int]:
        start = len(self.path(folder)) + 1
        return {info.path[start:]: info.size for info in self.files(folder)}

    def _listed(self, name: str, recursive: bool) -> list[pafs.FileInfo]:
        with told(f"{self.uri}/{name}"):
            selector = pafs.FileSelector(self.path(name), recursive=recursive, allow_not_found=True)
            try:
                return list(self.filesystem.get_file_info(selector))
            except FileNotFoundError:  # another job made it between pyarrow's look and its check
                return list(self.filesystem.get_file_info(selector))

    def _make_folder(self, path: str) -> None:
        try:
            self.filesystem.create_dir(path, recursive=True)
        except OSError as error:
            raise WorkspaceError(
                f"workspace {self.uri} cannot be written ({plain(error)}): {advice(error)}"
            ) from None
