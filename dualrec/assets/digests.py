"""Digests of what a version rests on: the content of files and of whole models, never a path.
Downloads nothing.

A file is hashed once: its digest is cached in CACHE/.digests, and counts as long as the file's
size, times and inode are those that were seen. Of objects in a store, the store's own ETag tells
one content from another.
"""

import hashlib
import json
import os
import time
import uuid
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from dualrec.assets.download import file_sha256
from dualrec.assets.nodes import ModelPlace
from dualrec.assets.places import listed
from dualrec.assets.registry import MODELS
from dualrec.config.settings import StoreSettings, version_of
from dualrec.errors import AssetError
from dualrec.storage.filesystems import error_text, map_in_threads

if TYPE_CHECKING:
    import pyarrow as pa

SMALL = 1 << 20  # bytes; a smaller file is hashed as soon as its digest would be looked up
# a file changed so lately may change again within a tick of the file system's clock, unseen
SETTLED_S = 2.0
# Weights, settings, tokenizers and chat templates; not the pages and pictures beside them.
_PARTS = (".safetensors", ".json", ".jinja", ".model", ".txt", ".gguf")


def model_digest(place: ModelPlace) -> str:
    """Return what tells a model's content from any other.

    Of a known name it is what the registry pins, so that it is the same before and after the
    download, on every machine; of any other, `content_digest` of its weights, settings, tokenizer
    and chat template.

    Raises:
        AssetError: a file or the object store cannot be read.
    """
    if place.source in MODELS:
        return version_of("registry", [repr(source) for source in MODELS[place.source]])
    return content_digest(place.source, place.cache, place.network.store, _PARTS)


def content_digest(
    source: str,
    cache: str | Path,
    store: StoreSettings = StoreSettings(),
    endings: tuple[str, ...] = ("",),
) -> str:
    """Return what tells the content of a file or folder from any other, wherever it lies.

    It is made of SHA-256 sums, in object storage of sizes and ETags. What is not on this machine
    has only its name.

    Args:
        cache: the folder of downloaded assets.
        endings: of the names of those files of a folder that count.

    Raises:
        AssetError: a file or the object store cannot be read.
    """
    if source.startswith("s3://"):
        return version_of(
            "s3", [file for file in _stored_files(source, store) if _counts(file[0], endings)]
        )
    path = Path(source).expanduser()
    if not path.exists():
        return version_of("name", source)
    try:
        if path.is_file():
            return version_of("file", file_digest(path, cache))
        names = sorted(
            found.relative_to(path).as_posix() for found in path.rglob("*") if found.is_file()
        )
        names = [name for name in names if _counts(name, endings)]
        digests = map_in_threads(lambda name: file_digest(path / name, cache), names)
        return version_of("folder", list(zip(names, digests, strict=True)))
    except OSError as error:
        raise AssetError(f"{source}: cannot be read: {error_text(error)}") from error


def file_digest(path: Path, cache: str | Path) -> str:
    """Return the SHA-256 of a local file, in hexadecimal digits; of a large one from the cache, as
    long as it is unchanged.

    Raises:
        OSError: the file cannot be read.
    """
    path = path.absolute()
    seen = path.stat()
    if seen.st_size <= SMALL:
        return file_sha256(path)
    state = (seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino)
    if time.time() - seen.st_ctime < SETTLED_S:
        return file_sha256(path)
    return _cached_sha256(path, state, Path(cache).expanduser().absolute() / ".digests")


def etag(stream: "pa.NativeFile") -> str:
    """Return the ETag of an object that is open, by which its store tells one content from another."""
    return bytes(stream.metadata()["ETag"]).decode()


@lru_cache(maxsize=1024)
def _cached_sha256(path: Path, state: tuple[int, ...], folder: Path) -> str:
    entry = folder / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.json"
    with suppress(
        OSError, ValueError, KeyError, TypeError
    ):  # none is there, or it is not one of ours
        known = json.loads(entry.read_text())
        if known["state"] == list(state):
            return str(known["sha256"])
    digest = file_sha256(path)
    draft = entry.with_name(f".{entry.name}.{uuid.uuid4().hex}")
    with suppress(OSError):  # a cache that cannot be written only costs time
        folder.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps({"path": str(path), "state": state, "sha256": digest}))
        draft.replace(entry)
    return digest


@lru_cache(maxsize=64)
def _stored_files(uri: str, store: StoreSettings) -> tuple[tuple[str, int, str], ...]:
    """Name, size and ETag of each file; a single file has no name.

    The same during a command, which a model that is replaced meanwhile must not give two versions.
    """
    filesystem, root, files = listed(uri, store)
    files.sort(key=lambda info: info.path)

    def tag(path: str) -> str:
        with filesystem.open_input_file(path) as stream:
            return etag(stream)

    try:
        tags = list(map_in_threads(tag, [info.path for info in files]))
    except OSError as error:
        raise AssetError(
            f"{uri}: cannot be read: {error_text(error)}; check the credentials and AWS_ENDPOINT_URL"
        ) from None
    names = [info.path.removeprefix(root).lstrip("/") for info in files]
    return tuple(zip(names, [info.size for info in files], tags, strict=True))


def _counts(name: str, endings: tuple[str, ...]) -> bool:
    """Whether a file of a folder decides what is read from it: `.cache` and its like do not."""
    return not name or (
        name.endswith(endings) and not any(part.startswith(".") for part in name.split("/"))
    )
