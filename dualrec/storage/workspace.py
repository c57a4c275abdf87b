"""The artifacts of a workspace, a local folder or s3://bucket/prefix. Knows no file's content.

An artifact is written where it stays: in a folder of its own for each attempt, `NAME/attempt-ID/`.
It counts once its marker `NAME.artifact.json` is there, which is written last and names the attempt
and its files. Nothing is moved or copied: on a disk as on S3, the marker makes all of it visible at
once. It lies beside the folder, so that any reader of Parquet can be pointed at the attempt.
"""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from dualrec import __version__
from dualrec.config.settings import Settings, StoreSettings
from dualrec.errors import WorkspaceError
from dualrec.storage.filesystems import (
    error_remedy,
    error_text,
    file_system,
    put_once,
    translate_storage_errors,
)
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
        with translate_storage_errors(workspace.uri):
            earlier = workspace.filesystem.get_file_info(workspace.path("catalogue"))
        if earlier.type == pafs.FileType.Directory:
            raise WorkspaceError(
                f"workspace {workspace.uri} was written by an earlier version of dualrec, in a "
                "layout that this one does not read: name a new one with --set workspace=PATH"
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
        """Return whether there is a file of that name."""
        with translate_storage_errors(f"{self.uri}/{name}"):
            info = self.filesystem.get_file_info(self.path(name))
        return bool(info.type == pafs.FileType.File)

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
        """Return the artifact of a kind that was written last with these values described."""
        matches = []
        for name in filter(self.has, [f"{kind}/{folder}" for folder in self.folders(kind)]):
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
                f"{self.uri}/{name} is not there: run `dualrec {made_by}` first, with the same "
                "settings (another data source, seed or network makes another version)"
            )

    @contextmanager
    def writing(self, name: str, description: dict[str, Any]) -> Iterator[str]:
        """Yield the path of a fresh folder; on leaving without an error it becomes the artifact.

        Of two writers that begin where no artifact is, the first to finish wins, and the other's
        files are deleted. A writer that begins where one is replaces it: the marker is overwritten
        at once, then the earlier files are deleted, and who reads them at that moment fails. After
        an error the folder is deleted, and an earlier artifact stays. No attempt is deleted that
        the marker names: a store may have written it although its answer was lost.

        Args:
            description: written into the marker; may be filled in until the block is left.

        Raises:
            WorkspaceError: the workspace cannot be written.
        """
        earlier = self._active_attempt(name)
        attempt = f"{ATTEMPT}{uuid.uuid4().hex[:12]}"
        folder = self.path(f"{name}/{attempt}")
        self._make_folder(folder)
        try:
            yield folder
            files = self.files(f"{name}/{attempt}")
            marker = {
                "artifact": name,
                "dualrec": __version__,
                "made": datetime.now(UTC).isoformat(timespec="seconds"),
                **description,
                "attempt": attempt,
                "files": {info.path.removeprefix(f"{folder}/"): info.size for info in files},
            }
            content = json.dumps(marker, indent=2, default=str).encode()
            if earlier is None:
                self.put_once(f"{name}{MARKER}", content)
            else:
                self.write_bytes(f"{name}{MARKER}", content)
        finally:
            # A store that fails now must not hide why; the nightly clean-up deletes the rest.
            with suppress(OSError, WorkspaceError):
                for unused in {earlier, attempt} - {None, self._active_attempt(name)}:
                    self.remove(f"{name}/{unused}")

    def _active_attempt(self, name: str) -> str | None:
        return self.description(name)["attempt"] if self.has(name) else None

    def abandoned_attempts(self, kind: str) -> list[str]:
        """Return attempts that no marker names: of writers that were killed, or work now."""
        abandoned = []
        for info in self._list(kind, recursive=True):
            if info.type == pafs.FileType.Directory and info.base_name.startswith(ATTEMPT):
                attempt = self.name_of(info.path)
                if info.base_name != self._active_attempt(attempt.rpartition("/")[0]):
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
        tables = [
            pq.read_table(file, filesystem=self.filesystem, columns=columns, partitioning=None)
            for file in files
        ]
        expected = pa.schema([schema.field(column) for column in columns or schema.names])
        return conform(pa.concat_tables(tables), expected, f"{self.uri}/{name}")

    def read_bytes(self, name: str) -> bytes:
        """Read one file.

        Raises:
            WorkspaceError: it is not there.
        """
        with self.reading(name) as stream:
            return bytes(stream.read())

    @contextmanager
    def reading(self, name: str, buffer_bytes: int | None = None) -> Iterator[pa.NativeFile]:
        """Open one file, to be read from its beginning to its end.

        Args:
            buffer_bytes: size of one request to the store, however few bytes the reader takes.

        Raises:
            WorkspaceError: it is not there.
        """
        with translate_storage_errors(f"{self.uri}/{name}"):
            try:
                path = self.path(name)
                with self.filesystem.open_input_stream(path, buffer_size=buffer_bytes) as stream:
                    yield stream
            except FileNotFoundError as error:
                raise WorkspaceError(f"{self.uri}/{name} is not there") from error

    def put_once(self, name: str, content: bytes) -> bool:
        """Write a small file where none is yet; return whether it now holds `content`.

        Of several writers, the first wins.

        Raises:
            WorkspaceError: it cannot be written.
        """
        with translate_storage_errors(f"{self.uri}/{name}"):
            return put_once(self.filesystem, self.path(name), content)

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write one small file, whole or not at all, over what is there.

        Raises:
            WorkspaceError: it cannot be written.
        """
        path = self.path(name)
        # S3 shows a file once it is whole.
        draft = f"{path}.{uuid.uuid4().hex}" if self.is_local else path
        self._make_folder(path.rpartition("/")[0])
        with translate_storage_errors(f"{self.uri}/{name}"):
            with self.filesystem.open_output_stream(draft) as stream:
                stream.write(content)
            if self.is_local:
                os.replace(draft, path)

    def parquet_files(self, name: str) -> list[str]:
        """Return the paths of a folder's Parquet files, also in folders below it, sorted."""
        return [info.path for info in self.files(name) if info.path.endswith(".parquet")]

    def files(self, name: str) -> list[pafs.FileInfo]:
        """Return all files of a folder and those below it, sorted by path; none where it is not."""
        entries = self._list(name, recursive=True)
        files = (info for info in entries if info.type == pafs.FileType.File)
        return sorted(files, key=lambda info: info.path)

    def folders(self, name: str) -> list[str]:
        """Return the base names of the folders right under a folder, sorted."""
        entries = self._list(name, recursive=False)
        return sorted(info.base_name for info in entries if info.type == pafs.FileType.Directory)

    def remove(self, name: str) -> None:
        """Delete a folder, after the marker of an artifact; do nothing where it is not there."""
        with translate_storage_errors(f"{self.uri}/{name}"):
            paths = [self.path(f"{name}{MARKER}"), self.path(name)]
            marker, folder = self.filesystem.get_file_info(paths)
            if marker.type == pafs.FileType.File:
                self.filesystem.delete_file(marker.path)
            if folder.type == pafs.FileType.Directory:
                self.filesystem.delete_dir(folder.path)

    def _list(self, name: str, recursive: bool) -> list[pafs.FileInfo]:
        with translate_storage_errors(f"{self.uri}/{name}"):
            selector = pafs.FileSelector(self.path(name), recursive=recursive, allow_not_found=True)
            try:
                return list(self.filesystem.get_file_info(selector))
            # Between pyarrow's listing and its check of the folder, another job created it.
            except FileNotFoundError:
                return list(self.filesystem.get_file_info(selector))

    def _make_folder(self, path: str) -> None:
        try:
            self.filesystem.create_dir(path, recursive=True)
        except OSError as error:
            raise WorkspaceError(
                f"workspace {self.uri} cannot be written ({error_text(error)}): "
                f"{error_remedy(error)}"
            ) from None
