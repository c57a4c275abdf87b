"""One file over HTTP: goes on where an earlier try stopped, and appears under its name only once it
is whole.

Bytes gather in FILE.part; FILE.part.json beside it holds what the server said of them, so that a
file which changed meanwhile is begun again. Knows nothing of what the file is for.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dualrec.assets.connectivity import innermost
from dualrec.config.settings import DownloadSettings
from dualrec.errors import AssetError

if TYPE_CHECKING:
    import requests

CHUNK_BYTES = 1 << 18

log = logging.getLogger(__name__)


class _InterruptedErrorError(Exception):
    """The transfer stopped short, and another request may bring the rest."""


def download(
    url: str,
    target: Path,
    sha256: str | None = None,
    settings: DownloadSettings = DownloadSettings(),
) -> str:
    """Fetch `url` to `target`, in a folder that exists, and return the file's SHA-256.

    A `target` that is already there is checked, not fetched again.

    Raises:
        AssetError: the server cannot be reached, refuses, or keeps stopping short (what came is
            kept, and the next call
            goes on from there); or the bytes are not those of `sha256` (what came is deleted).
    """
    if target.exists() and _matches(digest := file_sha256(target), sha256):
        return digest
    part = target.with_name(f"{target.name}.part")
    _fill(url, part, settings)
    digest = file_sha256(part)
    if not _matches(digest, sha256):
        discard(target)
        raise AssetError(
            f"{url}: the download is corrupt or another version: its SHA-256 is {digest}, expected {sha256}. "
            f"The partial file {part} is deleted; run again to fetch it anew"
        )
    os.replace(part, target)
    _note(part).unlink(missing_ok=True)
    return digest


def discard(target: Path) -> None:
    """Delete a download, finished or not, so that the next one begins afresh."""
    part = target.with_name(f"{target.name}.part")
    for path in (target, part, _note(part)):
        path.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _matches(digest: str, expected: str | None) -> bool:
    return expected is None or digest == expected


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _fill(url: str, part: Path, settings: DownloadSettings) -> None:
    """Ask again and again until the part is whole, or until `attempts` in a row brought nothing
    new."""
    furthest, barren = _resume_point(url, part)[0], 0
    with _progress(part.name.removesuffix(".part")) as show:
        while True:
            try:
                return _request(url, part, settings, show)
            except _InterruptedErrorError as interruption:
                size = _size(part)
                furthest, barren = (size, 0) if size > furthest else (furthest, barren + 1)
                if barren >= settings.attempts:
                    kept = (
                        f"; {size} bytes are kept in {part}, run again to go on from there"
                        if size
                        else ""
                    )
                    raise AssetError(f"{url}: {interruption}{kept}") from interruption
                log.info("%s: %s; trying again", url, interruption)
                time.sleep(settings.pause_s * (barren + 1))


def _request(
    url: str, part: Path, settings: DownloadSettings, show: Callable[[int, int | None], None]
) -> None:
    import requests
    import urllib3

    offset, headers = _resume_point(url, part)
    timeout = (settings.connect_timeout_s, settings.read_timeout_s)
    try:
        with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
            if response.status_code == 416:
                return _refused_range(response, part, offset)
            _check_status(url, response)
            if not _continues(response, offset):
                offset = 0
            _receive(url, response, part, offset, show)
    except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as error:
        raise _InterruptedErrorError(f"the connection failed ({innermost(error)})") from error
    except requests.RequestException as error:
        raise AssetError(f"{url}: cannot be downloaded: {error}") from error


def _resume_point(url: str, part: Path) -> tuple[int, dict[str, str]]:
    """How many bytes are there already, and the headers that ask for the rest of the very same
    file."""
    headers = {
        "Accept-Encoding": "identity"
    }  # the bytes as they lie on the server, so that lengths can be compared
    try:
        note = json.loads(_note(part).read_text())
    except (OSError, ValueError):
        note = {}
    offset = _size(part) if note.get("url") == url else 0
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if note.get("validator"):
            headers["If-Range"] = note["validator"]
    return offset, headers


def _refused_range(response: "requests.Response", part: Path, offset: int) -> None:
    """A server says so where there is nothing after `offset`: the part is whole already, or not of
    this file."""
    if response.headers.get("Content-Range", "") == f"bytes */{offset}":
        return
    part.unlink(missing_ok=True)
    raise _InterruptedErrorError(
        f"the server does not go on from byte {offset}, the part is deleted"
    )


def _check_status(url: str, response: "requests.Response") -> None:
    status = response.status_code
    if status in (408, 429) or status >= 500:
        raise _InterruptedErrorError(f"the server answered {status} {response.reason}")
    if status not in (200, 206):
        raise AssetError(f"{url}: the server answered {status} {response.reason}")


def _continues(response: "requests.Response", offset: int) -> bool:
    """Whether the body holds what follows `offset`; a server that knows no ranges sends the whole
    file."""
    if response.status_code != 206:
        return False
    if not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
        raise _InterruptedErrorError("the server sent another range than the one asked for")
    return True


def _receive(
    url: str,
    response: "requests.Response",
    part: Path,
    offset: int,
    show: Callable[[int, int | None], None],
) -> None:
    length = response.headers.get("Content-Length", "")
    total = offset + int(length) if length.isdigit() else None
    with part.open("ab" if offset else "wb") as stream:
        if not offset:  # the old bytes are gone before the note speaks of new ones
            _note(part).write_text(json.dumps({"url": url, "validator": _validator(response)}))
        while chunk := response.raw.read1(
            CHUNK_BYTES
        ):  # what is there: a cut then loses nothing that came
            stream.write(chunk)
            show(stream.tell(), total)
    if total is not None and _size(part) != total:
        raise _InterruptedErrorError(f"the body ended at byte {_size(part)} of {total}")


def _validator(response: "requests.Response") -> str | None:
    etag = response.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int | None], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(name, total=None)
        yield lambda completed, total: progress.update(task, completed=completed, total=total)
