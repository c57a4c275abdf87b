"""Data and models of the user's own: a zip, or a folder, zip or file in object storage, brought
into the cache.

The cache name holds a hash of what was seen (path, sizes, times), so a source that changed is
brought again.
"""

import hashlib
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dualrec.assets.archives import extract_archive
from dualrec.assets.cache import build_once
from dualrec.config.settings import DownloadSettings, NetworkSettings, StoreSettings
from dualrec.errors import AssetError, WorkspaceError

if TYPE_CHECKING:
    import pyarrow.fs as pafs

TABLE_ENDINGS = (".parquet", ".csv")


def dataset_name(source: str) -> str:
    """A short name for a person: `ml-1m-warm` for `data/ml-1m-warm.zip` or
    `s3://bucket/ml-1m-warm/`."""
    last = source.rstrip("/").rsplit("/", 1)[-1]
    if not source.startswith("s3://"):
        last = Path(source).expanduser().absolute().resolve().name
    stem = re.sub(r"\.(zip|parquet|csv)$", "", last, flags=re.IGNORECASE)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.") or "data"


def unpacked(
    archive: Path, cache: str | Path, settings: DownloadSettings = DownloadSettings()
) -> Path:
    """The folder of the cache that holds what a local zip holds.

    Raises:
        AssetError: the zip is not whole or not safe, or the cache cannot be written.
    """
    archive = archive.expanduser().absolute()
    seen = archive.stat()
    name = f"{dataset_name(str(archive))}-{_hash(archive, seen.st_size, seen.st_mtime_ns)}"

    def build(staging: Path) -> dict[str, Any]:
        extract_archive(archive, staging)
        return {"source": str(archive)}

    return build_once(cache, name, build, settings)


def copied(uri: str, cache: str | Path, network: NetworkSettings = NetworkSettings()) -> Path:
    """The copy, in the cache, of what an s3:// URI names: a folder, the folder that a zip holds, or
    a single file.

    AWS_ENDPOINT_URL names an endpoint other than Amazon's; credentials come by the usual AWS ways.

    Raises:
        AssetError: nothing can be read there, a zip is not whole or not safe, or the cache cannot
            be written.
    """
    filesystem, root, files = listed(uri, network.store)
    seen = sorted((file.path, file.size, file.mtime_ns) for file in files)
    single = Path(root).name if [file.path for file in files] == [root] else None

    def build(staging: Path) -> dict[str, Any]:
        if single and single.lower().endswith(".zip"):
            archive = staging.with_name(f"{staging.name}.zip")
            try:
                _copy(uri, filesystem, {root: archive})
                extract_archive(archive, staging)
            finally:
                archive.unlink(missing_ok=True)
        else:
            _copy(
                uri,
                filesystem,
                {file.path: _inside(uri, staging, root, file.path) for file in files},
            )
        return {"source": uri}

    folder = build_once(cache, f"{dataset_name(uri)}-{_hash(uri, seen)}", build, network.downloads)
    return folder / single if single and single.lower().endswith(TABLE_ENDINGS) else folder


def data_folder(folder: Path) -> Path:
    """The folder that really holds the files, where an archive holds one single folder and nothing
    else beside it."""
    while True:
        inside = [path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX"))]
        if (
            len(inside) != 1 or not inside[0].is_dir() or "=" in inside[0].name
        ):  # "year=2024": a table's partition
            return folder
        folder = inside[0]


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def listed(uri: str, store: StoreSettings) -> "tuple[pafs.FileSystem, str, list[pafs.FileInfo]]":
    """The file system of an s3:// URI, the path in it, and all files there.

    Raises:
        AssetError: nothing can be read there.
    """
    import pyarrow.fs as pafs

    from dualrec.storage.filesystems import error_text, file_system

    try:
        filesystem, root = file_system(uri, store)
        info = filesystem.get_file_info(root)
        listed = [info]
        if info.type == pafs.FileType.Directory:
            listed = filesystem.get_file_info(pafs.FileSelector(root, recursive=True))
    except WorkspaceError as error:  # of the URI, which may hold a key: it says what it can
        raise AssetError(str(error)) from None
    except OSError as error:
        raise AssetError(
            f"{uri}: cannot be read: {error_text(error)}; check the bucket, the credentials (AWS_ACCESS_KEY_ID and the like) "
            "and AWS_ENDPOINT_URL"
        ) from None
    files = [info for info in listed if info.type == pafs.FileType.File]
    if not files:
        raise AssetError(f"{uri}: there is no file there; check the bucket and the path")
    return filesystem, root, files


def _inside(uri: str, staging: Path, root: str, path: str) -> Path:
    relative = Path(path).name if path == root else path.removeprefix(f"{root}/")
    if ".." in Path(relative).parts or Path(relative).is_absolute():
        raise AssetError(f"{uri}: the object '{path}' would land outside the cache; rename it")
    return staging / relative


def _copy(uri: str, filesystem: "pafs.FileSystem", destinations: dict[str, Path]) -> None:
    from dualrec.storage.filesystems import error_text

    for path, destination in destinations.items():
        destination.parent.mkdir(parents=True, exist_ok=True)
        try:
            with filesystem.open_input_stream(path) as source, destination.open("wb") as stream:
                shutil.copyfileobj(source, stream, 1 << 22)
        except OSError as error:
            raise AssetError(
                f"{uri}: copying '{path}' to {destination} failed: {error_text(error)}"
            ) from None
