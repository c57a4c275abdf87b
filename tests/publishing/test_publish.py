"""A night is published whole or not at all, once, and by one of several jobs; on a local folder and
on S3 alike."""

import json
import shutil
from datetime import date
from pathlib import Path

import pytest

import dualrec.publishing.publish as publishing
from dualrec.config.settings import PublishSettings, StoreSettings
from dualrec.errors import PublishError, WorkspaceError
from dualrec.publishing.manifest import (
    current_manifest,
    current_manifests,
    manifest_name,
    manifest_numbers,
    published_paths,
    read_manifest,
    staging_folder,
)
from dualrec.publishing.publish import publication_count, publish
from dualrec.publishing.table import committed_manifest, open_table
from dualrec.storage.workspace import Workspace
from tests.object_store import KEYS
from tests.readers import through_delta, through_manifest
from tests.staged import NIGHT, USERS, publish_run, stage

SETTINGS = PublishSettings()
NEXT = date(2026, 11, 2)


def whole(run_id: str) -> list[tuple[int, int, str]]:
    """What a reader sees of a whole night."""
    return [(int(user), rank, run_id) for user in USERS for rank in (1, 2, 3)]


def both(workspace: Workspace, run_date: date = NIGHT) -> list[tuple[int, int, str]]:
    """What both kinds of readers see, which must be the same."""
    seen = through_delta(workspace, run_date)
    assert seen == through_manifest(workspace, run_date)
    return seen


def test_a_night_is_seen_by_both_readers_once_it_is_published_and_not_before(place: str) -> None:
    workspace = Workspace(place)
    night = stage(workspace, "A")
    assert both(workspace) == []
    assert publish(workspace, night, 0, SETTINGS).is_new
    assert both(workspace) == whole("A")


def test_the_manifest_says_what_was_published(place: str) -> None:
    workspace = Workspace(place)
    night = stage(workspace, "A")
    manifest, _ = publish(workspace, night, 0, SETTINGS)
    raw = json.loads(workspace.read_bytes(manifest_name(NIGHT, 1)))
    offered = night.model_dump(mode="json")
    assert {name: raw[name] for name in offered} == offered
    assert (raw["number"], raw["restores"]) == (1, None)
    assert read_manifest(workspace, NIGHT, 1) == current_manifest(workspace, NIGHT) == manifest
    table = open_table(workspace)
    assert table is not None and table.version() == raw["delta_version"] == 1
    assert [workspace.name_of(path) for path in published_paths(workspace, manifest)] == [
        f"{staging_folder(NIGHT, 'A')}/part-{part}.parquet" for part in (0, 1)
    ]
    assert not any(key in json.dumps(raw) for key in KEYS.values())


def test_another_run_of_the_date_takes_its_place_and_leaves_other_dates(place: str) -> None:
    workspace = Workspace(place)
    for run_id, run_date in [("A", NIGHT), ("B", NEXT), ("C", NEXT)]:
        publish_run(workspace, run_id, run_date)
    assert both(workspace) == whole("A")
    assert both(workspace, NEXT) == whole("C")
    assert [(one.run_date, one.number, one.run_id) for one in current_manifests(workspace)] == [
        (NIGHT, 1, "A"),
        (NEXT, 2, "C"),
    ]


def test_the_same_run_published_twice_changes_nothing(place: str) -> None:
    workspace = Workspace(place)
    night = stage(workspace, "A")
    first = publish(workspace, night, 0, SETTINGS)
    again = publish(workspace, night, 0, SETTINGS)
    assert (again.manifest, again.is_new) == (first.manifest, False)
    table = open_table(workspace)
    assert table is not None and table.version() == 1
    assert manifest_numbers(workspace) == {NIGHT: [1]}
    assert both(workspace) == whole("A")


def test_a_job_that_was_thought_dead_does_not_replace_what_came_after_it(place: str) -> None:
    workspace = Workspace(place)
    late, began = stage(workspace, "late"), publication_count(workspace, NIGHT)
    publish_run(workspace, "A")
    with pytest.raises(
        PublishError,
        match=r"run late was not published.*since this one began \(0 times then, 1 now\)",
    ):
        publish(workspace, late, began, SETTINGS)
    assert both(workspace) == whole("A")


def test_a_run_that_was_replaced_is_not_published_again(place: str) -> None:
    workspace = Workspace(place)
    night = stage(workspace, "A")
    publish(workspace, night, 0, SETTINGS)
    publish_run(workspace, "B")
    with pytest.raises(
        PublishError, match="run A was published before, and replaced.*run B is active, as number 2"
    ):
        publish(workspace, night, 2, SETTINGS)
    assert both(workspace) == whole("B")


def _another_job_at_this_moment(monkeypatch: pytest.MonkeyPatch, act) -> None:
    """Let `act` happen after a publication looked at what stands, right before its commit."""
    commit = publishing.commit

    def late(*arguments):
        monkeypatch.setattr(publishing, "commit", commit)
        act()
        return commit(*arguments)

    monkeypatch.setattr(publishing, "commit", late)


@pytest.mark.parametrize("stood_before", [False, True])
def test_of_two_runs_at_one_moment_the_second_loses_with_a_clear_error(
    place: str, monkeypatch: pytest.MonkeyPatch, stood_before: bool
) -> None:
    workspace = Workspace(place)
    if stood_before:
        publish_run(workspace, "before")
    night, began = stage(workspace, "A"), publication_count(workspace, NIGHT)
    _another_job_at_this_moment(monkeypatch, lambda: publish_run(workspace, "B"))
    with pytest.raises(PublishError, match="run A was not published.*at the same moment"):
        publish(workspace, night, began, SETTINGS)
    assert both(workspace) == whole("B")
    assert manifest_numbers(workspace)[NIGHT] == list(range(1, began + 2))


def test_of_two_jobs_with_the_same_run_at_one_moment_the_second_finds_it_done(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(place)
    night = stage(workspace, "A")
    _another_job_at_this_moment(monkeypatch, lambda: publish(workspace, night, 0, SETTINGS))
    assert not publish(workspace, night, 0, SETTINGS).is_new
    assert both(workspace) == whole("A")
    assert manifest_numbers(workspace) == {NIGHT: [1]}


def test_another_date_at_the_same_moment_is_no_hindrance(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(place)
    night = stage(workspace, "A")
    _another_job_at_this_moment(monkeypatch, lambda: publish_run(workspace, "B", NEXT))
    manifest, anew = publish(workspace, night, 0, SETTINGS)
    assert anew
    assert both(workspace) == whole("A")
    assert both(workspace, NEXT) == whole("B")
    standing = current_manifest(workspace, NEXT)
    assert standing is not None and (standing.delta_version, manifest.delta_version) == (1, 2)


def test_a_table_that_others_changed_at_this_moment_is_committed_to_again(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(place)
    publish_run(workspace, "before")
    night = stage(workspace, "A")

    def change_the_metadata() -> None:
        table = open_table(workspace)
        assert table is not None
        table.alter.set_table_properties({"delta.logRetentionDuration": "interval 90 days"})

    _another_job_at_this_moment(monkeypatch, change_the_metadata)
    assert publish(workspace, night, 1, SETTINGS).is_new
    assert both(workspace) == whole("A")


def test_a_manifest_says_the_right_version_where_others_committed_since_the_table_was_opened(
    place: str,
) -> None:
    workspace = Workspace(place)
    publish_run(workspace, "A")
    publish_run(workspace, "B", NEXT)
    publish_run(workspace, "C", NEXT)
    for run_date, number, version in [(NIGHT, 1, 1), (NEXT, 1, 2), (NEXT, 2, 3)]:
        manifest = committed_manifest(workspace, run_date, number)
        assert manifest is not None and manifest == read_manifest(workspace, run_date, number)
        assert manifest.delta_version == version
    assert committed_manifest(workspace, NIGHT, 2) is None


def _die(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("step", ["commit", "_finish"])
def test_a_job_killed_around_the_commit_is_finished_by_the_same_job_again(
    place: str, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    workspace = Workspace(place)
    publish_run(workspace, "before")
    night = stage(workspace, "A")
    with monkeypatch.context() as patch:
        patch.setattr(publishing, step if step == "commit" else "write_manifest", _die)
        with pytest.raises(KeyboardInterrupt):
            publish(workspace, night, 1, SETTINGS)
    assert through_manifest(workspace, NIGHT) == whole("before")
    assert through_delta(workspace, NIGHT) == whole("before" if step == "commit" else "A")
    assert publish(workspace, night, 1, SETTINGS).is_new is (step == "commit")
    assert both(workspace) == whole("A")
    assert manifest_numbers(workspace) == {NIGHT: [1, 2]}


def test_a_job_killed_after_its_commit_is_finished_by_the_next_run(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(place)
    with monkeypatch.context() as patch:
        patch.setattr(publishing, "write_manifest", _die)
        with pytest.raises(KeyboardInterrupt):
            publish_run(workspace, "A")
    publish_run(workspace, "B")
    assert both(workspace) == whole("B")
    assert [read_manifest(workspace, NIGHT, number).run_id for number in (1, 2)] == ["A", "B"]


def test_a_commit_whose_answer_was_lost_is_known_as_ours(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deltalake import DeltaTable

    workspace = Workspace(place)
    night = stage(workspace, "A")
    write = DeltaTable.create_write_transaction

    def lose_the_answer(*arguments, **named) -> None:
        write(*arguments, **named)
        raise OSError("connection closed before message completed")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", lose_the_answer)
    assert publish(workspace, night, 0, SETTINGS).is_new
    assert both(workspace) == whole("A")


def test_a_store_that_fails_at_the_commit_leaves_the_night_before(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deltalake import DeltaTable

    workspace = Workspace(place, StoreSettings(table_pauses_s=(0.1, 0.2)))
    publish_run(workspace, "before")
    night = stage(workspace, "A")

    def fail(*_: object, **__: object) -> None:
        raise OSError("error sending request: connection refused")

    with monkeypatch.context() as patch:
        patch.setattr(DeltaTable, "create_write_transaction", fail)
        with pytest.raises(
            WorkspaceError, match="recommendations: error sending request.*AWS_ENDPOINT_URL"
        ):
            publish(workspace, night, 1, SETTINGS)
    assert both(workspace) == whole("before")
    assert publish(workspace, night, 1, SETTINGS).is_new


@pytest.mark.parametrize("harm", ["gone", "shorter"])
def test_a_staged_file_that_is_gone_stops_the_publication(tmp_path: Path, harm: str) -> None:
    workspace = Workspace(str(tmp_path))
    night = stage(workspace, "A")
    file = Path(workspace.path(f"recommendations/{night.files[1].path}"))
    file.unlink() if harm == "gone" else file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(
        PublishError, match=r"1 of the 2 files of run A .* are gone or changed, .*part-1.parquet"
    ):
        publish(workspace, night, 0, SETTINGS)
    assert both(workspace) == []


def test_a_table_of_other_columns_is_left_alone(tmp_path: Path) -> None:
    import pyarrow as pa
    from deltalake import DeltaTable, Schema

    workspace = Workspace(str(tmp_path))
    DeltaTable.create(
        workspace.path("recommendations"), Schema.from_arrow(pa.schema([("run_date", pa.date32())]))
    )
    with pytest.raises(PublishError, match="has other columns"):
        publish_run(workspace, "A")


def test_manifests_of_another_table_stop_the_publication(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path))
    publish_run(workspace, "A")
    shutil.rmtree(tmp_path / "recommendations/_delta_log")
    with pytest.raises(PublishError, match="go up to number 1, but the Delta table counts 0"):
        publish_run(workspace, "B")
    assert through_manifest(workspace, NIGHT) == whole("A")


def test_a_broken_manifest_is_named_with_its_field(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path))
    publish_run(workspace, "A")
    Path(workspace.path(manifest_name(NIGHT, 1))).write_text("{}")
    with pytest.raises(
        PublishError, match=r"00000001.json is no manifest: run_date: Field required"
    ):
        current_manifests(workspace)


@pytest.mark.parametrize("run_id", ["", "a/b", "../A", "A B", "ä"])
def test_a_run_id_is_a_plain_folder_name(run_id: str) -> None:
    with pytest.raises(PublishError, match="expected 1 to 80 letters"):
        staging_folder(NIGHT, run_id)
