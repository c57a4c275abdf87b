"""Who is scored again: those with another history than the one behind their published list, and
nobody else."""

from datetime import date

import numpy as np
import pyarrow as pa

from dualrec.nightly.changed_users import (
    FAILED,
    SCORED_HISTORIES,
    Users,
    fingerprints,
    match_unchanged,
    write_users,
)
from dualrec.storage.workspace import Workspace
from tests.conftest import histories_table

FIRST, SECOND = date(2026, 11, 1), date(2026, 11, 2)


def _users(item_ids: dict[int, list[int]], night: date) -> Users:
    table = fingerprints(histories_table(item_ids), night).sort_by("user_id")
    ids, prints, scored = (table.column(name).to_numpy() for name in SCORED_HISTORIES.names)
    return Users(ids, prints, scored.astype("datetime64[D]"))


def test_only_an_unchanged_history_carries_its_list_over() -> None:
    before = _users({1: [7, 8], 2: [7, 8], 3: [7, 8], 5: [], 9: [1]}, FIRST)
    now = _users({1: [7, 8], 2: [7, 8, 9], 3: [8, 7], 4: [7, 8], 5: []}, SECOND)
    carried, users = match_unchanged(now, before)
    assert dict(zip(now.ids.tolist(), carried.tolist(), strict=True)) == {
        1: True,
        2: False,
        3: False,
        4: False,
        5: True,
    }
    scored = [FIRST, SECOND, SECOND, SECOND, FIRST]
    assert users.scored.tolist() == scored


def test_a_night_after_none_scores_everybody() -> None:
    now = _users({1: [7], 2: [8]}, SECOND)
    carried, users = match_unchanged(now, _users({}, FIRST))
    assert not carried.any() and users is now


def test_an_empty_history_differs_from_every_other() -> None:
    prints = _users({1: [], 2: [0], 3: [0, 0]}, FIRST).fingerprints
    assert len(set(prints.tolist())) == 3 and FAILED not in prints


def test_a_user_on_whom_the_language_model_failed_is_scored_again(place: str) -> None:
    workspace, night = Workspace(place), _users({1: [7], 2: [8], 3: [9]}, FIRST)
    write_users(workspace, "users/run_date=2026-11-01/night-a", night, np.array([2]))
    table = workspace.read_table("users/run_date=2026-11-01/night-a", SCORED_HISTORIES)
    kept = Users(*(table.column(name).to_numpy() for name in SCORED_HISTORIES.names))
    carried, _ = match_unchanged(_users({1: [7], 2: [8], 3: [9]}, SECOND), kept)
    assert carried.tolist() == [True, False, True]
    assert isinstance(table, pa.Table)
