"""A rollback is a new publication of the version before; clean-up takes only what no reader can
hold."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import dualrec.publishing.publish as publishing
from dualrec.config.settings import PublishSettings
from dualrec.errors import PublishError
from dualrec.publishing.manifest import manifest_numbers, staging_folder
from dualrec.publishing.publish import publication_count, publish, roll_back
from dualrec.publishing.retention import clean_up
from dualrec.publishing.table import open_table
from dualrec.storage.workspace import Workspace
from tests.publishing.test_publish import NEXT, both, whole
from tests.staged import NIGHT, publish_run, rows, stage, write

DAYS = 30


def later(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def test_a_rollback_brings_back_the_version_before_for_both_readers(place: str) -> None:
    workspace = Workspace(place)
    for run_id in "AB":
        publish_run(workspace, run_id)
    publish_run(workspace, "other", NEXT)
    manifest, replaced = roll_back(workspace, NIGHT)
    assert (manifest.run_id, manifest.number, manifest.restores, replaced.run_id) == (
        "A",
        3,
        1,
        "B",
    )
    assert both(workspace) == whole("A")
    assert both(workspace, NEXT) == whole("other")
    table = open_table(workspace)
    assert (
        table is not None and table.version() == 4
    )  # the table's making, three publications, one rollback


def test_rolling_back_twice_goes_back_two_versions_and_never_to_what_was_taken_back(
    tmp_path: Path,
) -> None:
    workspace = Workspace(str(tmp_path))
    for run_id in "ABC":
        publish_run(workspace, run_id)
    assert [roll_back(workspace, NIGHT).manifest.run_id for _ in range(2)] == ["B", "A"]
    with pytest.raises(PublishError, match="no version before"):
        roll_back(workspace, NIGHT)
    assert both(workspace) == whole("A")


def test_a_run_published_after_a_rollback_can_be_rolled_back_to_the_same(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path))
    for run_id in "AB":
        publish_run(workspace, run_id)
    roll_back(workspace, NIGHT)
    publish_run(workspace, "C")
    manifest, replaced = roll_back(workspace, NIGHT)
    assert (manifest.run_id, manifest.restores, replaced.run_id) == ("A", 1, "C")


def test_a_run_that_was_rolled_back_is_not_published_again_by_its_job(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path))
    publish_run(workspace, "A")
    bad = stage(workspace, "bad")
    publish(workspace, bad, 1, PublishSettings())
    roll_back(workspace, NIGHT)
    with pytest.raises(
        PublishError, match="run bad was published before, and replaced or rolled back since"
    ):
        publish(workspace, bad, publication_count(workspace, NIGHT), PublishSettings())
    assert both(workspace) == whole("A")


def test_a_night_that_was_never_published_or_once_only_is_not_rolled_back(place: str) -> None:
    workspace = Workspace(place)
    with pytest.raises(PublishError, match=f"{NIGHT} was never published"):
        roll_back(workspace, NIGHT)
    publish_run(workspace, "A")
    with pytest.raises(PublishError, match=f"{NEXT} was never published"):
        roll_back(workspace, NEXT)
    with pytest.raises(PublishError, match="no version before number 1"):
        roll_back(workspace, NIGHT)
    assert both(workspace) == whole("A")


def test_a_rollback_that_was_cut_off_is_finished_and_not_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(str(tmp_path))
    for run_id in "ABC":
        publish_run(workspace, run_id)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(publishing, "write_manifest", die)
        with pytest.raises(KeyboardInterrupt):
            roll_back(workspace, NIGHT)
    manifest, replaced = roll_back(workspace, NIGHT)
    assert (manifest.run_id, manifest.number, replaced.run_id) == ("B", 4, "C")
    assert both(workspace) == whole("B")


def test_a_publication_at_the_moment_of_a_rollback_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(str(tmp_path))
    for run_id in "AB":
        publish_run(workspace, run_id)
    commit = publishing.commit

    def late(*arguments):
        monkeypatch.setattr(publishing, "commit", commit)
        publish_run(workspace, "C")
        return commit(*arguments)

    monkeypatch.setattr(publishing, "commit", late)
    with pytest.raises(PublishError, match="at the same moment"):
        roll_back(workspace, NIGHT)
    assert both(workspace) == whole("C")


def test_a_version_whose_files_are_gone_is_not_brought_back(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path))
    for run_id in "AB":
        publish_run(workspace, run_id)
    workspace.remove(staging_folder(NIGHT, "A"))
    with pytest.raises(PublishError, match="2 of the 2 files of run A .* are gone"):
        roll_back(workspace, NIGHT)
    assert both(workspace) == whole("B")


def test_clean_up_leaves_everything_until_the_retention_time_is_over(place: str) -> None:
    workspace = Workspace(place)
    for run_id in "ABC":
        publish_run(workspace, run_id)
    stage(workspace, "staged")
    assert clean_up(workspace, DAYS, later(DAYS - 1)) == []
    assert manifest_numbers(workspace) == {NIGHT: [1, 2, 3]}


def test_clean_up_takes_old_versions_and_staging_and_keeps_what_a_rollback_needs(
    place: str,
) -> None:
    workspace = Workspace(place)
    for run_id in "ABC":
        publish_run(workspace, run_id)
    publish_run(workspace, "other", NEXT)
    for name in (
        staging_folder(NIGHT, "staged"),
        staging_folder(NIGHT, "A", "traces"),
        staging_folder(NIGHT, "C", "traces"),
    ):
        write(workspace, name, "part-0.parquet", rows("x"))
    write(workspace, ".staging/killed", "part-0.parquet", rows("x"))
    write(
        workspace, f"recommendations/run_date={NIGHT}/run_id=by-hand", "part-0.parquet", rows("x")
    )
    assert clean_up(workspace, DAYS, later(DAYS + 1)) == [
        staging_folder(NIGHT, "A"),
        staging_folder(NIGHT, "staged"),
        staging_folder(NIGHT, "A", "traces"),
        ".staging/killed",
    ]
    assert manifest_numbers(workspace) == {NIGHT: [2, 3], NEXT: [1]}
    assert workspace.folders(f"recommendations/run_date={NIGHT}") == [
        "night-B",
        "night-C",
        "run_id=by-hand",
    ]
    assert both(workspace) == whole("C")
    assert both(workspace, NEXT) == whole("other")
    assert clean_up(workspace, DAYS, later(DAYS + 1)) == []
    assert roll_back(workspace, NIGHT).manifest.run_id == "B"
    assert both(workspace) == whole("B")


def test_a_version_is_kept_for_the_retention_time_from_when_it_was_replaced(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path))
    for run_id in "ABC":
        publish_run(workspace, run_id)
    for path in tmp_path.rglob("*.parquet"):
        os.utime(path, (0, 0))  # scored long ago, replaced today
    assert clean_up(workspace, DAYS) == []


def test_after_a_rollback_clean_up_takes_what_was_taken_back(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path))
    for run_id in "AB":
        publish_run(workspace, run_id)
    roll_back(workspace, NIGHT)
    assert clean_up(workspace, DAYS, later(DAYS + 1)) == [staging_folder(NIGHT, "B")]
    assert both(workspace) == whole("A")


def test_clean_up_keeps_a_commit_that_has_no_manifest_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(str(tmp_path))
    monkeypatch.setattr(publishing, "write_manifest", lambda *_: None)  # as if the job died there
    publish(workspace, stage(workspace, "A"), 0, PublishSettings())
    assert manifest_numbers(workspace) == {}
    assert clean_up(workspace, DAYS, later(DAYS + 1)) == []
