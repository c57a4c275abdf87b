from pathlib import Path

import pytest

from dualrec.errors import WorkspaceError
from dualrec.workspace import Workspace


def _write(workspace: Workspace, name: str, text: str) -> None:
    with workspace.writing(name, {"kind": text}) as folder:
        Path(folder, "file.txt").write_text(text)


def test_an_artefact_appears_whole(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path / "w"))
    assert not workspace.has("a/1")
    _write(workspace, "a/1", "one")
    assert workspace.has("a/1")
    assert workspace.read_bytes("a/1/file.txt") == b"one"
    assert workspace.description("a/1")["kind"] == "one"


def test_a_failed_write_leaves_the_earlier_artefact_and_no_rest(tmp_path: Path) -> None:
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


def test_a_missing_artefact_says_which_job_makes_it(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="run `dualrec prepare` first"):
        Workspace(str(tmp_path)).require("histories/1", "prepare")


def test_a_workspace_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WorkspaceError, match="cannot be written"):
        _write(Workspace(str(tmp_path / "file")), "a/1", "x")


def test_only_folders_and_s3_are_workspaces() -> None:
    with pytest.raises(WorkspaceError, match="expected a folder or s3://"):
        Workspace("ftp://host/place")
