"""Where raw data lies: the same folders and files are found on this machine and in object storage."""

from pathlib import Path

import pytest

from dualrec.data.files import DataFile, data_place, within_reach
from dualrec.errors import AssetError
from dualrec.storage.workspace import Workspace

LAYOUTS = {
    "flat": ["ratings.csv", "movies.csv"],
    "in one folder": ["ml-32m/ratings.csv", "ml-32m/movies.csv"],
    "beside a folder": ["ratings.csv", "movies.csv", "more/notes.csv"],
    "partitions": ["year=2023/part.parquet", "year=2024/part.parquet"],
    "one partition": ["year=2024/part.parquet"],
    "two folders": ["a/part.parquet", "b/part.parquet"],
}


@pytest.mark.parametrize("names", LAYOUTS.values(), ids=LAYOUTS)
def test_the_same_files_are_found_here_and_in_object_storage(
    names: list[str], tmp_path: Path, s3_workspace: str
) -> None:
    there = Workspace(s3_workspace)
    for name in names:
        there.write_bytes(name, b"1")
        file = tmp_path / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"1")
    here, stored = (
        data_place(source, str(tmp_path / "cache"))
        for source in (str(tmp_path / "data"), s3_workspace)
    )
    assert [file.last_name for file in stored.files] == [file.last_name for file in here.files]
    assert stored.fingerprints() == here.fingerprints()
    assert not (tmp_path / "cache").exists(), "nothing is copied"


@pytest.mark.parametrize("stored", [False, True], ids=["here", "in object storage"])
def test_an_edit_anywhere_in_a_large_file_is_seen(
    stored: bool, tmp_path: Path, s3_workspace: str
) -> None:
    content, place = bytearray(3 << 20), s3_workspace if stored else str(tmp_path / "data")
    prints = []
    for edited in (0, 1, 1, 2):
        content[len(content) // 2] = edited
        Workspace(place).write_bytes("views.csv", bytes(content))
        prints.append(data_place(f"{place}/views.csv", str(tmp_path / "cache")).fingerprints())
    assert prints[0] != prints[1] == prints[2] != prints[3]


def test_local_files_are_copied_to_a_remote_workspace_while_they_are_read(
    tmp_path: Path, s3_workspace: str
) -> None:
    (tmp_path / "ratings.csv").write_bytes(b"1,2")
    files, workspace = (DataFile.local(tmp_path / "ratings.csv"),), Workspace(s3_workspace)
    with within_reach(files, workspace) as (copy,):
        assert not copy.is_local
        assert str(copy) == str(files[0]), "messages name the user's own file"
        with copy.reading() as stream:
            assert stream.read() == b"1,2"
    assert not workspace.files(".staging")
    with within_reach(files, Workspace(str(tmp_path))) as same:
        assert same == files


def test_a_file_that_is_not_on_this_node_is_no_corrupt_file(
    tmp_path: Path, s3_workspace: str
) -> None:
    lost = Workspace(s3_workspace)
    for file in (
        DataFile.local(tmp_path / "lost.csv"),
        DataFile(lost.filesystem, lost.path("lost.csv"), "s3://lost.csv"),
    ):
        with (
            pytest.raises(
                AssetError, match=r"lost.csv cannot be read on node .*: .*every node reaches it"
            ),
            file.reading(),
        ):
            pass
