"""Unpacks zips, wheels among them, from places that need not be trusted. A folder appears whole or
not at all.

Refuses members that would land outside the folder, links and other special files, and archives that
unpack to more than a sane size. Knows nothing of what is inside.
"""

import lzma
import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from dualrec.errors import AssetError

LIMIT_BYTES = 16 << 30  # the largest data set that has a name, ml-32m, unpacks to about 1 GiB
LIMIT_MEMBERS = 100_000

Plan = list[tuple[zipfile.ZipInfo, PurePosixPath]]


def extract_archive(archive: Path, target: Path, limit_bytes: int = LIMIT_BYTES) -> None:
    """Unpack a zip as the new folder `target`.

    Raises:
        AssetError: the zip is truncated or corrupt, holds what it must not, or unpacks to more than
            `limit_bytes`;
            or the folder cannot be written.
    """
    with _opened(archive) as opened:
        plan = [(info, _safe_path(archive, info)) for info in opened.infolist()]
        _unpack(archive, opened, plan, target, limit_bytes)


def extract_members(
    archive: Path, members: Sequence[str], target: Path, limit_bytes: int = LIMIT_BYTES
) -> None:
    """Unpack some members of a zip as the new folder `target`.

    A file lands under its own name; a folder, which ends in "/", lands with all it holds at the top
    of `target`.

    Raises:
        AssetError: as `extract_archive`, or a member is not there.
    """
    with _opened(archive) as opened:
        plan: Plan = []
        for member in members:
            root = PurePosixPath(member) if member.endswith("/") else PurePosixPath(member).parent
            found = [info for info in opened.infolist() if _is_of(info.filename, member)]
            if not found:
                raise AssetError(
                    f"{archive}: holds no '{member}', so it is not the version that is expected"
                )
            plan += [(info, _safe_path(archive, info).relative_to(root)) for info in found]
        _unpack(archive, opened, plan, target, limit_bytes)


def _is_of(filename: str, member: str) -> bool:
    return filename == member or (member.endswith("/") and filename.startswith(member))


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(archive) as opened:
            yield opened
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise AssetError(
            f"{archive}: truncated or corrupt, no whole zip ({error}); copy it again"
        ) from error
    except NotImplementedError as error:
        raise AssetError(
            f"{archive}: is packed in a way that Python cannot unpack ({error}); pack it again"
        ) from error
    except OSError as error:
        raise AssetError(f"{archive}: cannot be unpacked: {error}") from error


def _safe_path(archive: Path, info: zipfile.ZipInfo) -> PurePosixPath:
    path = PurePosixPath(info.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or info.filename[1:2] == ":":
        raise AssetError(
            f"{archive}: the member '{info.filename}' would land outside the folder; do not trust it"
        )
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise AssetError(
            f"{archive}: the member '{info.filename}' is a link or a special file; do not trust this file"
        )
    if info.flag_bits & 0x1:
        raise AssetError(
            f"{archive}: the member '{info.filename}' is encrypted; unpack it and name the folder"
        )
    return path


def _unpack(
    archive: Path, opened: zipfile.ZipFile, plan: Plan, target: Path, limit_bytes: int
) -> None:
    total = sum(
        info.file_size for info, _ in plan
    )  # zipfile reads no more of a member than its size says
    if total > limit_bytes or len(plan) > LIMIT_MEMBERS:
        raise AssetError(
            f"{archive}: unpacks to {total:,} bytes in {len(plan):,} files, over the limit of {limit_bytes:,} bytes in "
            f"{LIMIT_MEMBERS:,}; where that is right, unpack it yourself and name the folder"
        )
    unpacking = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(unpacking, ignore_errors=True)
    try:
        unpacking.mkdir(parents=True)
        for info, path in plan:
            _write_member(opened, info, unpacking / path)
        os.replace(unpacking, target)
    finally:
        shutil.rmtree(unpacking, ignore_errors=True)


def _write_member(opened: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    if info.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        opened.open(info) as source,
        path.open("wb") as stream,
    ):  # reading to the end checks the CRC
        shutil.copyfileobj(source, stream, 1 << 20)
