"""Files of raw data, on this machine or in object storage, and where they lie so that every node
can read them."""

import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pyarrow as pa
import pyarrow.fs as pafs

from dualrec.assets.digests import SMALL, etag, file_digest
from dualrec.assets.fetch import resolve_dataset
from dualrec.assets.places import copied, listed
from dualrec.config.settings import NetworkSettings, Settings, StoreSettings
from dualrec.errors import AssetError
from dualrec.storage.filesystems import (
    PatientS3,
    error_text,
    map_in_threads,
    translate_storage_errors,
)
from dualrec.storage.workspace import Workspace

Fingerprint = tuple[str, int, str]


@dataclass(frozen=True)
class DataFile:
    """One file.

    Attributes:
        name: a path or s3:// URI, for messages.
    """

    filesystem: pafs.FileSystem
    path: str
    name: str

    @classmethod
    def local(cls, path: Path) -> "DataFile":
        """A file of this machine."""
        return cls(pafs.LocalFileSystem(), str(path), str(path))

    def __str__(self) -> str:
        return self.name

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine's disk, or on one that nodes share."""
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    @property
    def last_name(self) -> str:
        """The file's own name, without its folder."""
        return PurePosixPath(self.path).name

    @property
    def suffix(self) -> str:
        """The ending of the name, with its dot, in small letters."""
        return PurePosixPath(self.path).suffix.lower()

    def size(self) -> int:
        """Bytes."""
        return int(self.filesystem.get_file_info(self.path).size)

    @contextmanager
    def reading(self) -> Iterator[pa.NativeFile]:
        """The file, to be read anywhere, in the block.

        Raises:
            AssetError: the disk or the store failed, or the file is not there. What Arrow says of
                its content is not
                touched.
        """
        try:
            with self.filesystem.open_input_file(self.path) as stream:
                yield stream
        except OSError as error:
            if error.errno is None and "AWS Error" not in str(error):
                raise
            raise AssetError(
                f"{self.name} cannot be read on node {socket.gethostname()}: {error_text(error)}; see that every node reaches "
                "it, or put it into object storage"
            ) from None

    def here(self, cache: str) -> Path:
        """A copy on this machine: the file itself where it is local, else one in the cache.

        Raises:
            AssetError: it cannot be read, or the cache cannot be written.
        """
        if self.is_local:
            return Path(self.path)
        assert isinstance(self.filesystem, PatientS3), (
            "what is not on this machine is in object storage"
        )
        place = copied(self.name, cache, NetworkSettings(store=self.filesystem.store))
        return place / self.last_name if place.is_dir() else place

    def fingerprint(self, cache: str) -> Fingerprint:
        """Return name, size and SHA-256; of a large object in a store, its ETag instead. Changes
        with any byte of the data.

        Args:
            cache: the folder of downloaded assets, where a large file's digest is cached.

        Raises:
            AssetError: it cannot be read.
        """
        with self.reading() as stream:
            size = stream.size()
            if size <= SMALL:
                return self.last_name, size, sha256(stream.read()).hexdigest()
            if self.is_local:
                return self.last_name, size, file_digest(Path(self.path), cache)
            return self.last_name, size, etag(stream)


@dataclass(frozen=True)
class DataPlace:
    """A folder of files, or a single one.

    Attributes:
        name: a path or s3:// URI, for messages.
        files: in the order of their names; of a folder, those directly in it.
        cache: the folder of downloaded assets.
    """

    name: str
    is_folder: bool
    files: tuple[DataFile, ...]
    cache: str

    def fingerprints(self) -> list[Fingerprint]:
        """Of each file."""
        return list(map_in_threads(lambda file: file.fingerprint(self.cache), self.files))


def data_place(source: str, cache: str, network: NetworkSettings = NetworkSettings()) -> DataPlace:
    """What `data.source` or `data.items` names. Of an s3:// URI nothing but a zip is copied: its
    files are read there.

    Raises:
        AssetError: the source cannot be had.
    """
    if source.startswith("s3://") and not source.lower().endswith(".zip"):
        return _in_object_storage(source, cache, network.store)
    path = resolve_dataset(source, cache, network)
    inside = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    return DataPlace(str(path), path.is_dir(), tuple(map(DataFile.local, inside)), cache)


def _in_object_storage(uri: str, cache: str, store: StoreSettings) -> DataPlace:
    filesystem, root, infos = listed(uri, store)
    paths = sorted(info.path for info in infos)
    if paths == [root]:
        return DataPlace(uri, False, (DataFile(filesystem, root, uri),), cache)
    folder = _folder_of_files(root, paths)
    files = (path for path in paths if path.rpartition("/")[0] == folder)
    return DataPlace(
        uri, True, tuple(DataFile(filesystem, path, f"s3://{path}") for path in files), cache
    )


def _folder_of_files(root: str, paths: list[str]) -> str:
    """The folder that really holds the files, where one holds a single folder and nothing else; see
    `data_folder`."""
    while True:
        inside = {path.removeprefix(f"{root}/").partition("/")[:2] for path in paths}
        (name, slash), *others = inside
        if others or not slash or "=" in name:  # "year=2024": a table's partition
            return root
        root = f"{root}/{name}"


@contextmanager
def within_reach(
    files: tuple[DataFile, ...], workspace: Workspace
) -> Iterator[tuple[DataFile, ...]]:
    """The files where every node can read them, until the block is left.

    With a workspace in object storage, nodes need not share a disk: files of this machine are
        copied there meanwhile.

    Raises:
        WorkspaceError: the store failed.
    """
    if workspace.is_local or not any(file.is_local for file in files):
        yield files
        return
    folder = workspace.path(f".staging/raw-{uuid.uuid4().hex}")
    try:
        with translate_storage_errors(workspace.uri):
            copies = tuple(
                _copied_to(f"{folder}/{number}-{file.last_name}", file, workspace)
                for number, file in enumerate(files)
            )
        yield copies
    finally:
        with suppress(
            OSError
        ):  # a store that fails now must not hide why; the nightly clean-up takes the rest
            workspace.filesystem.delete_dir(folder)


def _copied_to(path: str, file: DataFile, workspace: Workspace) -> DataFile:
    pafs.copy_files(
        file.path,
        path,
        source_filesystem=file.filesystem,
        destination_filesystem=workspace.filesystem,
        chunk_size=1 << 23,
    )
    return DataFile(workspace.filesystem, path, file.name)


class RawData(NamedTuple):
    """Where the raw data lies: the interactions, and a table of items where they have none."""

    data: DataPlace
    items: DataPlace | None

    def fingerprints(self) -> tuple[list[Fingerprint], list[Fingerprint] | None]:
        """Return the fingerprint of each file."""
        return self.data.fingerprints(), self.items.fingerprints() if self.items else None


def raw_data(settings: Settings) -> RawData:
    """Return where the source of the settings lies; fetch a data set that is known by name.

    Raises:
        AssetError: it cannot be had.
    """
    data, cache, network = settings.data, settings.cache, settings.network
    items = data_place(data.items, cache, network) if data.items else None
    return RawData(data_place(data.source, cache, network), items)
