from contextlib import ExitStack
from pathlib import Path

import pandas
import polars
import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from dualrec.config.settings import load_settings
from dualrec.errors import WorkspaceError
from dualrec.storage.workspace import Workspace


def _write(workspace: Workspace, name: str, text: str) -> None:
    with workspace.writing(name, {"kind": text}) as folder:
        Path(folder, "file.txt").write_text(text)


def _read(workspace: Workspace, name: str, file: str) -> bytes:
    return workspace.read_bytes(f"{workspace.content(name)}/{file}")


def _names(workspace: Workspace, folder: str) -> list[str]:
    return [workspace.name_of(info.path) for info in workspace.files(folder)]


def test_an_artifact_appears_whole(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path / "w"))
    assert not workspace.has("a/1")
    _write(workspace, "a/1", "one")
    assert workspace.has("a/1")
    assert _read(workspace, "a/1", "file.txt") == b"one"
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
    assert _read(workspace, "a/1", "file.txt") == b"one"
    assert _names(workspace, "a") == ["a/1.artifact.json", f"{workspace.content('a/1')}/file.txt"]


def test_a_second_write_replaces_the_first(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path / "w"))
    _write(workspace, "a/1", "one")
    _write(workspace, "a/1", "two")
    assert _read(workspace, "a/1", "file.txt") == b"two"


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
    assert _read(workspace, "a/1", "y") == b"two"
    assert _names(workspace, "a") == ["a/1.artifact.json", f"{workspace.content('a/1')}/y"]


@pytest.fixture(params=["local", "s3"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Workspace:
    """An empty workspace, on this machine's disk or in the tests' object store."""
    if request.param == "local":
        return Workspace(str(tmp_path / "workspace"))
    return Workspace(request.getfixturevalue("s3_workspace"))


def test_of_two_interleaved_writers_the_first_to_finish_wins_and_readers_see_its_attempt_whole(
    workspace: Workspace,
) -> None:
    files = ("x", "y")
    with ExitStack() as slow:
        folder = slow.enter_context(workspace.writing("a/1", {"writer": "slow"}))
        with workspace.filesystem.open_output_stream(f"{folder}/x") as stream:
            stream.write(b"slow")
        assert not workspace.has("a/1")
        _put(workspace, "a/1", dict.fromkeys(files, "fast"))
        assert [_read(workspace, "a/1", file) for file in files] == [b"fast", b"fast"]
        with workspace.filesystem.open_output_stream(f"{folder}/y") as stream:
            stream.write(b"slow")
    assert [_read(workspace, "a/1", file) for file in files] == [b"fast", b"fast"]
    assert len(_names(workspace, "a")) == 1 + len(files)
    assert workspace.description("a/1")["files"] == {"x": 4, "y": 4}


def test_a_replacement_that_is_cut_off_leaves_the_earlier_artifact(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(workspace, "a/1", {"x": "one", "y": "one"})

    def fail(name: str, content: bytes) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(workspace, "write_bytes", fail)
        with pytest.raises(KeyboardInterrupt):
            _put(workspace, "a/1", {"x": "two"})
    assert _read(workspace, "a/1", "x") == b"one"
    assert len(_names(workspace, "a")) == 3


def test_a_writer_that_dies_before_the_marker_leaves_an_attempt_that_does_not_count(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:  # a killed process cleans nothing up
        patch.setattr(workspace, "put_once", _die)
        patch.setattr(workspace, "remove", _die)
        with pytest.raises(KeyboardInterrupt):
            _put(workspace, "a/1", {"x": "half"})
    assert not workspace.has("a/1")
    (abandoned,) = workspace.abandoned_attempts("a")
    assert _names(workspace, abandoned) == [f"{abandoned}/x"]
    _put(workspace, "a/1", {"x": "whole"})
    assert _read(workspace, "a/1", "x") == b"whole"
    assert workspace.abandoned_attempts("a") == [abandoned]


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_any_reader_of_parquet_reads_a_tables_folder(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path))
    table = pa.table({"user_id": [1, 2, 3]})
    with workspace.writing("lists/1", {}) as folder:
        for part in range(2):
            workspace.write_table(table, f"{folder}/part-{part}.parquet")
    for folder in (workspace.path("lists/1"), workspace.path(workspace.content("lists/1"))):
        assert len(polars.read_parquet(folder)) == 6
        assert len(pandas.read_parquet(folder)) == 6


def test_a_workspace_of_an_earlier_layout_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "catalogue/0123456789ab").mkdir(parents=True)
    with pytest.raises(WorkspaceError, match="earlier version of dualrec.*name a new one"):
        Workspace.of(load_settings(None, [f"workspace={tmp_path}"]))


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


def test_a_marker_whose_answer_was_lost_keeps_the_attempt_that_it_names(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = workspace.put_once

    def lose_answer(name: str, content: bytes) -> bool:
        written(name, content)
        raise WorkspaceError("the store did not answer in time")

    monkeypatch.setattr(workspace, "put_once", lose_answer)
    with pytest.raises(WorkspaceError, match="did not answer"):
        _put(workspace, "a/1", {"x": "whole"})
    assert _read(workspace, "a/1", "x") == b"whole"
