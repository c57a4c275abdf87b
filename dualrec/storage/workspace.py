"""Where artifacts lie, under one URI: a local folder or s3://bucket/prefix. Knows files, not what
is in them.

An artifact is a folder that appears whole or not at all: it is written beside its place, then moved
there with
`artifact.json`, which says what made it. A folder without that file does not count. On S3, where
nothing can be moved,
that file is copied last, and on replacement deleted first: an artifact is whole or, for a moment,
not there.
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from dualrec import __version__
from dualrec.config.settings import Settings, StoreSettings
from dualrec.errors import WorkspaceError
from dualrec.storage.filesystems import advice, file_system, plain, put_once, told
from dualrec.storage.schemas import conform

MARKER = "artifact.json"


class Workspace:
    """All artifacts under one URI.

    Attributes:
        uri: the root, as given or made absolute.
        filesystem, root: the same for pyarrow and Ray Data.
        store: how patiently object storage is asked.
    """

    def __init__(self, uri: str, store: StoreSettings = StoreSettings()) -> None:
        self.store = store
        self.filesystem, self.root = file_system(uri, store)
        self.is_local = isinstance(self.filesystem, pafs.LocalFileSystem)
        self.uri = self.root if self.is_local else uri.rstrip("/")

    @classmethod
    def of(cls, settings: Settings) -> "Workspace":
        """Open the workspace that the settings name, with their patience."""
        return cls(settings.workspace, settings.network.store)

    def path(self, name: str) -> str:
        """The path of an artifact's folder, for `filesystem`."""
        return f"{self.root}/{name}"

    def name_of(self, path: str) -> str:
        """The name of a folder that `path` or `writing` gave."""
        return path.removeprefix(f"{self.root}/")

    def has(self, name: str) -> bool:
        """Whether the artifact is there, whole."""
        return self.has_file(f"{name}/{MARKER}")

    def has_file(self, name: str) -> bool:
        """Whether there is a file of that name."""
        with told(f"{self.uri}/{name}"):
            return bool(self.filesystem.get_file_info(self.path(name)).type == pafs.FileType.File)

    def description(self, name: str) -> dict[str, Any]:
        """What made the artifact, as its writer noted it.

        Raises:
            WorkspaceError: it is not there.
        """
        return dict(json.loads(self.read_bytes(f"{name}/{MARKER}")))

    def newest(self, kind: str, made_from: dict[str, str]) -> str | None:
        """The artifact under the folder `kind` that was made last with these values in its
        description."""
        names = [f"{kind}/{folder}" for folder in self.folders(kind)]
        found = []
        for name in filter(self.has, names):
            description = self.description(name)
            if all(description.get(key) == value for key, value in made_from.items()):
                found.append((description["made"], name))
        return max(found)[1] if found else None

    def require(self, name: str, made_by: str) -> str:
        """Return the artifact's path.

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
        """Give a fresh folder to write in; on leaving without an error it becomes the artifact
        `name`.

        `description` is written as the artifact's marker, and may be filled in meanwhile. After an
        error the folder is removed, and an earlier artifact of that name stays as it was.

        Raises:
            WorkspaceError: the workspace cannot be written.
        """
        staging = f"{self.root}/.staging/{uuid.uuid4().hex}"
        self._make_folder(staging)
        try:
            yield staging
            description = {"artifact": name, "dualrec": __version__, "made": _now(), **description}
            with told(f"{self.uri}/{name}"):
                with self.filesystem.open_output_stream(f"{staging}/{MARKER}") as stream:
                    stream.write(json.dumps(description, indent=2, default=str).encode())
                self._move(staging, self.path(name))
        finally:
            with suppress(
                OSError
            ):  # a store that fails now must not hide why; the nightly clean-up takes the rest
                if self.filesystem.get_file_info(staging).type == pafs.FileType.Directory:
                    self.filesystem.delete_dir(staging)

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
            at_a_time: bytes that are asked of the store at once, however few the reader takes.

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
        """Write one small file, whole or not at all, over what is there.

        Raises:
            WorkspaceError: it cannot be written.
        """
        path = self.path(name)
        draft = (
            f"{path}.{uuid.uuid4().hex}" if self.is_local else path
        )  # S3 shows a file once it is whole
        self._make_folder(path.rpartition("/")[0])
        with told(f"{self.uri}/{name}"):
            with self.filesystem.open_output_stream(draft) as stream:
                stream.write(content)
            if self.is_local:
                os.replace(draft, path)

    def parquet_files(self, name: str) -> list[str]:
        """The Parquet files of a folder and those below it, sorted, as paths of `filesystem`."""
        return [info.path for info in self.files(name) if info.path.endswith(".parquet")]

    def files(self, name: str) -> list[pafs.FileInfo]:
        """All files of a folder and those below it, sorted by path; none where there is no such
        folder."""
        found = self._listed(name, recursive=True)
        return sorted(
            (info for info in found if info.type == pafs.FileType.File), key=lambda info: info.path
        )

    def folders(self, name: str) -> list[str]:
        """The names of the folders right under a folder, sorted, without those above them."""
        found = self._listed(name, recursive=False)
        return sorted(info.base_name for info in found if info.type == pafs.FileType.Directory)

    def remove(self, name: str) -> None:
        """Delete a folder and all in it, an artifact's marker first; nothing happens where it is
        not there.

        Raises:
            WorkspaceError: it cannot be deleted.
        """
        with told(f"{self.uri}/{name}"):
            self._remove(self.path(name))

    def _listed(self, name: str, recursive: bool) -> list[pafs.FileInfo]:
        with told(f"{self.uri}/{name}"):
            selector = pafs.FileSelector(self.path(name), recursive=recursive, allow_not_found=True)
            try:
                return list(self.filesystem.get_file_info(selector))
            # pyarrow found no folder, looked again whether there is one, and another job had made
            # it
            except FileNotFoundError:
                return list(self.filesystem.get_file_info(selector))

    def _remove(self, path: str) -> None:
        marker, folder = self.filesystem.get_file_info([f"{path}/{MARKER}", path])
        if marker.type == pafs.FileType.File:
            self.filesystem.delete_file(marker.path)
        if folder.type == pafs.FileType.Directory:
            self.filesystem.delete_dir(path)

    def _make_folder(self, path: str) -> None:
        try:
            self.filesystem.create_dir(path, recursive=True)
        except OSError as error:
            raise WorkspaceError(
                f"workspace {self.uri} cannot be written ({plain(error)}): {advice(error)}"
            ) from None

    def _move(self, source: str, target: str) -> None:
        self._make_folder(target.rpartition("/")[0])
        if self.is_local:
            replaced = f"{source}.replaced"
            if Path(target).exists():
                os.rename(target, replaced)
            os.rename(source, target)
            shutil.rmtree(replaced, ignore_errors=True)
            return
        self._remove(target)
        files = self.filesystem.get_file_info(pafs.FileSelector(source, recursive=True))
        for info in sorted(files, key=lambda info: info.path.endswith(MARKER)):  # the marker last
            if info.type == pafs.FileType.File:
                place = target + info.path.removeprefix(source)
                self.filesystem.create_dir(place.rpartition("/")[0], recursive=True)
                self.filesystem.copy_file(info.path, place)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
