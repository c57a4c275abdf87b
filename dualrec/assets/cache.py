"""The cache on disk: a folder an asset, which appears whole or not at all, made by one process at a
time.

An asset is built in CACHE/.staging and moved to its place with `.complete.json` inside, which says
where it came from and holds the SHA-256 of every file. A folder without that file does not count.
Knows nothing of sources.
"""

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dualrec.assets.download import file_sha256
from dualrec.config.settings import DownloadSettings
from dualrec.errors import AssetError

MARKER = ".complete.json"

log = logging.getLogger(__name__)

Build = Callable[[Path], dict[str, Any]]


def build_once(
    cache: str | Path, name: str, build: Build, settings: DownloadSettings = DownloadSettings()
) -> Path:
    """Return the folder of asset `name`, which `build` makes unless it is there already.

    `build` is given a path that does not exist yet, has to make a folder of it, and returns what
    the marker should say.

    Raises:
        AssetError: the cache cannot be written, another process holds the asset too long, or
            `build` raised it.
    """
    root = Path(cache).expanduser().absolute()
    folder = root / name
    if is_whole(folder):
        return folder
    try:
        for part in (".locks", ".staging", ".downloads"):
            (root / part).mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".locks" / f"{name}.lock", timeout=settings.lock_timeout_s):
            if not is_whole(folder):  # another process may have made it meanwhile
                _build(root, name, build)
    except Timeout as error:
        raise AssetError(
            f"{name}: another process has been fetching it into {root} for {settings.lock_timeout_s:g} s; "
            f"if none does, delete {error.lock_file}"
        ) from error
    except OSError as error:
        raise AssetError(
            f"{name}: the cache {root} cannot be written: {error}; name another, or make room"
        ) from error
    return folder


def is_whole(folder: Path) -> bool:
    """Whether the folder was finished by `build_once`."""
    return (folder / MARKER).is_file()


def downloads(cache: str | Path) -> Path:
    """Where partial downloads lie, to be gone on with by a later call."""
    return Path(cache).expanduser().absolute() / ".downloads"


def record_sha256(cache: str | Path, name: str, url: str, digest: str) -> None:
    """Note the SHA-256 of a download that has no pinned one in NAME.sha256.json; warn where an
    earlier one differed."""
    path = Path(cache).expanduser().absolute() / f"{name}.sha256.json"
    try:
        earlier = json.loads(path.read_text()).get(url)
    except (OSError, ValueError):
        earlier = None
    if earlier is None:
        log.info("%s: recorded SHA-256 %s of %s in %s", name, digest, url, path)
    elif earlier != digest:
        log.warning(
            "%s: %s has changed since it was first fetched: SHA-256 was %s, is %s",
            name,
            url,
            earlier,
            digest,
        )
    path.write_text(json.dumps({url: digest}, indent=2))


def _build(root: Path, name: str, build: Build) -> None:
    staging = root / ".staging" / name
    shutil.rmtree(
        staging, ignore_errors=True
    )  # what a killed process left; the lock says that none is at it now
    try:
        description = build(staging)
        files = sorted(path for path in staging.rglob("*") if path.is_file())
        digests = {path.relative_to(staging).as_posix(): file_sha256(path) for path in files}
        marker = {"name": name, **description, "files": digests}
        (staging / MARKER).write_text(json.dumps(marker, indent=2))
        shutil.rmtree(root / name, ignore_errors=True)  # without a marker: not whole
        os.replace(staging, root / name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
