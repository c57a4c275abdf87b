from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest

from dualrec.errors import WorkspaceError
from dualrec.storage.workspace import Workspace


def _write(workspace: Workspace, name: str, text: str) -> None:
    with workspace.writing(name, {"kind": text}) as folder:
        Path(folder, "file.txt").write_text(text)


def test_an_artifact_appears_whole(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path / "w"))
    assert not workspace.has("a/1")
    _write(workspace, "a/1", "one")
    assert workspace.has("a/1")
    assert workspace.read_bytes("a/1/file.txt") == b"one"
    assert workspace.description("a/1")["kind"] == "one"


def test_a_failed_write_leaves_the_earlier_artifact_and_no_rest(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path / "w"))
    _write(workspace, "a/1", "one")

    def fail() -> None:
        with workspace.writing("a/1", {}) as folder:
            Path(folder, "file.txt").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert workspace.read_bytes("a/1/file.txt") == b"one"
    assert list((tmp_path / "w" / ".staging").iterdir()) == []


def test_a_second_write_replaces_the_first(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path / "w"))
    _write(workspace, "a/1", "one")
    _write(workspace, "a/1", "two")
    assert workspace.read_bytes("a/1/file.txt") == b"two"


def test_the_newest_is_found_by_what_made_it(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path / "w"))
    _write(workspace, "a/1", "x")
    _write(workspace, "a/2", "y")
    assert workspace.newest("a", {"kind": "x"}) == "a/1"
    assert workspace.newest("a", {"kind": "z"}) is None


def test_a_missing_artifact_says_which_job_makes_it(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="run `dualrec prepare` first"):
        Workspace(str(tmp_path)).require("histories/1", "prepare")


def test_a_workspace_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WorkspaceError, match="cannot be written"):
        _write(Workspace(str(tmp_path / "file")), "a/1", "x")


def test_only_folders_and_s3_are_workspaces() -> None:
    with pytest.raises(WorkspaceError, match="expected a folder or s3://"):
        Workspace("ftp://host/place")


def _put(workspace: Workspace, name: str, files: dict[str, str]) -> None:
    with workspace.writing(name, {}) as folder:
        for file, text in files.items():
            workspace.filesystem.create_dir(f"{folder}/{file}".rpartition("/")[0], recursive=True)
            with workspace.filesystem.open_output_stream(f"{folder}/{file}") as stream:
                stream.write(text.encode())


def test_an_artifact_on_s3_appears_whole_and_its_replacement_leaves_nothing_of_the_first(
    s3_workspace: str,
) -> None:
    workspace = Workspace(s3_workspace)
    assert not workspace.has("a/1")
    _put(workspace, "a/1", {"x/1": "one", "y": "one"})
    _put(workspace, "a/1", {"y": "two"})
    assert workspace.has("a/1")
    assert workspace.read_bytes("a/1/y") == b"two"
    assert [workspace.name_of(info.path) for info in workspace.files("a")] == [
        "a/1/artifact.json",
        "a/1/y",
    ]
    assert workspace.files(".staging") == []


@pytest.mark.parametrize("call", ["delete_dir", "copy_file"])
def test_a_replacement_on_s3_that_is_cut_off_leaves_no_artifact_that_counts(
    s3_workspace: str, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    workspace = Workspace(s3_workspace)
    _put(workspace, "a/1", {"x": "one", "y": "one"})
    with monkeypatch.context() as patch:
        patch.setattr(workspace, "filesystem", _Failing(workspace.filesystem, call))
        with pytest.raises(KeyboardInterrupt):
            _put(workspace, "a/1", {"x": "two"})
    assert not workspace.has("a/1")
    _put(workspace, "a/1", {"x": "three"})
    assert workspace.read_bytes("a/1/x") == b"three"
    assert len(workspace.files("a/1")) == 2


class _Failing:
    """A file system on which one call is cut off; all others go through."""

    def __init__(self, whole: Any, call: str) -> None:
        self._whole, self._call = whole, call

    def __getattr__(self, name: str) -> Any:
        if name == self._call:
            raise KeyboardInterrupt
        return getattr(self._whole, name)


def test_a_folder_that_is_made_while_it_is_listed_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class MadeMeanwhile(pafs.LocalFileSystem):
        """As pyarrow does where a folder appears between its look and its check."""

        def get_file_info(self, asked):
            folder = tmp_path / "lists"
            if not folder.exists():
                folder.mkdir()
                (folder / "one.parquet").touch()
                raise FileNotFoundError(2, "Cannot list directory")
            return super().get_file_info(asked)

    workspace = Workspace(str(tmp_path))
    monkeypatch.setattr(workspace, "filesystem", MadeMeanwhile())
    assert [info.base_name for info in workspace.files("lists")] == ["one.parquet"]
