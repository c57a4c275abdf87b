"""What was scored is the checkpoint: whole files count, and of a driver that was thought dead only
what was there in time."""

import numpy as np
import pyarrow as pa

from dualrec.nightly.staging import attempt_folder, scored_so_far, take_over
from dualrec.storage.workspace import Workspace
from tests.nightly.test_plan import plan_number

PLAN = plan_number(1)


def _write(
    workspace: Workspace, attempt: int, name: str, users: list[int], purpose: str = "night"
) -> None:
    folder = workspace.path(attempt_folder(PLAN, attempt))
    workspace.filesystem.create_dir(folder, recursive=True)
    table = pa.table({"user_id": pa.array(users, pa.int64()), "purpose": [purpose] * len(users)})
    workspace.write_table(table, f"{folder}/{name}.parquet")


def _users(workspace: Workspace, attempt: int, purpose: str = "night") -> list[int]:
    return sorted(scored_so_far(workspace, PLAN, attempt).ids(purpose).tolist())


def test_a_first_driver_finds_nothing(place: str) -> None:
    scored = take_over(Workspace(place), PLAN, 1)
    assert scored.files == [] and not len(scored.ids("night"))


def test_each_driver_takes_over_what_those_before_it_scored(place: str) -> None:
    workspace = Workspace(place)
    for attempt in (1, 2, 3):
        assert sorted(take_over(workspace, PLAN, attempt).ids("night").tolist()) == list(
            range(1, attempt)
        )
        _write(workspace, attempt, "a", [attempt])
    _write(workspace, 3, "b", [7], "calibration")
    assert _users(workspace, 3) == [1, 2, 3]
    assert _users(workspace, 3, "calibration") == [7]


def test_what_a_driver_that_was_thought_dead_writes_too_late_does_not_count(place: str) -> None:
    workspace = Workspace(place)
    take_over(workspace, PLAN, 1)
    _write(workspace, 1, "in-time", [1, 2])
    take_over(workspace, PLAN, 2)
    _write(workspace, 1, "too-late", [3])
    _write(workspace, 2, "again", [3])
    assert _users(workspace, 2) == [1, 2, 3]
    assert sorted(take_over(workspace, PLAN, 3).ids("night").tolist()) == [1, 2, 3]
    assert len(scored_so_far(workspace, PLAN, 3).files) == 2


def test_a_driver_that_died_before_it_scored_is_passed_over(place: str) -> None:
    workspace = Workspace(place)
    take_over(workspace, PLAN, 1)
    _write(workspace, 1, "a", [1])
    assert take_over(workspace, PLAN, 5).ids("night").tolist() == [1]


def test_a_file_that_was_cut_off_is_none(tmp_path: object) -> None:
    workspace = Workspace(str(tmp_path))
    take_over(workspace, PLAN, 1)
    _write(workspace, 1, "whole", [1])
    _write(workspace, 1, "cut", [2])
    folder = workspace.path(attempt_folder(PLAN, 1))
    with open(f"{folder}/cut.parquet", "r+b") as stream:
        stream.truncate(100)
    with open(f"{folder}/empty.parquet", "wb"):
        pass
    assert take_over(workspace, PLAN, 2).ids("night").tolist() == [1]


def test_another_run_of_the_night_takes_nothing_over(place: str) -> None:
    workspace = Workspace(place)
    take_over(workspace, PLAN, 1)
    _write(workspace, 1, "a", [1])
    assert not len(take_over(workspace, plan_number(2), 2).ids("night"))


def test_finished_users_keep_their_types(place: str) -> None:
    workspace = Workspace(place)
    take_over(workspace, PLAN, 1)
    _write(workspace, 1, "a", [2**40])
    assert scored_so_far(workspace, PLAN, 1).ids("night").dtype == np.int64
