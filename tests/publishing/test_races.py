"""Jobs that race, and readers that look all the while, each in a process of its own and under a
time limit."""

import multiprocessing
import time
from collections.abc import Callable
from datetime import date
from typing import Any

from dualrec.config.settings import PublishSettings
from dualrec.errors import PublishError
from dualrec.publishing.manifest import Snapshot, manifest_numbers
from dualrec.publishing.publish import publish, roll_back
from dualrec.storage.workspace import Workspace
from tests.publishing.test_publish import both, whole
from tests.readers import through_delta, through_manifest
from tests.staged import NIGHT, publish_run, stage

PROCESSES = multiprocessing.get_context("spawn")
TIME_LIMIT_S = 90


def _race(place: str, night: Snapshot, ready: Any, outcomes: Any) -> None:
    ready.wait(TIME_LIMIT_S)
    try:
        outcomes.put(
            "published"
            if publish(Workspace(place), night, 0, PublishSettings()).is_new
            else "there"
        )
    except PublishError as error:
        outcomes.put(f"lost: {error}")
    except Exception as error:  # told, or the test would wait for it until its limit
        outcomes.put(f"failed: {error!r}")
        raise


def _outcomes(place: str, nights: list[Snapshot]) -> list[str]:
    """Let one process for each night publish it, all at once."""
    ready, outcomes = PROCESSES.Barrier(len(nights)), PROCESSES.Queue()
    jobs = [
        PROCESSES.Process(target=_race, args=(place, night, ready, outcomes), daemon=True)
        for night in nights
    ]
    for job in jobs:
        job.start()
    try:
        return sorted(outcomes.get(timeout=TIME_LIMIT_S) for _ in jobs)
    finally:
        for job in jobs:
            job.join(timeout=10)
            job.kill()


def test_of_three_runs_at_once_one_is_published_and_the_others_say_that_they_lost(
    place: str,
) -> None:
    workspace = Workspace(place)
    runs = {run_id: stage(workspace, run_id) for run_id in "ABC"}
    *lost, won = _outcomes(place, list(runs.values()))
    assert won == "published"
    assert len(lost) == 2 and all("was not published" in one for one in lost)
    assert manifest_numbers(workspace) == {NIGHT: [1]}
    assert both(workspace) in [whole(run_id) for run_id in runs]


def test_three_jobs_with_the_same_run_at_once_publish_it_once(place: str) -> None:
    workspace = Workspace(place)
    night = stage(workspace, "A")
    assert _outcomes(place, [night] * 3) == ["published", "there", "there"]
    assert manifest_numbers(workspace) == {NIGHT: [1]}
    assert both(workspace) == whole("A")


def _read_on(read: Callable[..., list], place: str, stop: Any, started: Any, found: Any) -> None:
    workspace, seen = Workspace(place), set()
    while not stop.is_set():
        seen.add(tuple(read(workspace, NIGHT)))
        started.set()
    found.put(seen)


def _seen(place: str, read: Callable[..., list], act: Callable[[], None]) -> set[tuple]:
    """All that a reader in another process saw of the night while `act` ran."""
    stop, started, found = PROCESSES.Event(), PROCESSES.Event(), PROCESSES.Queue()
    reader = PROCESSES.Process(
        target=_read_on, args=(read, place, stop, started, found), daemon=True
    )
    reader.start()
    try:
        assert started.wait(TIME_LIMIT_S)
        act()
        stop.set()
        return set(found.get(timeout=TIME_LIMIT_S))
    finally:
        reader.kill()


def _six_changes(workspace: Workspace) -> None:
    for run_id in "BCDE":
        publish_run(workspace, run_id)
        publish_run(workspace, f"{run_id}-of-another-night", date(2026, 11, 2))
        time.sleep(0.2)
    for _ in range(2):
        roll_back(workspace, NIGHT)
        time.sleep(0.2)


def test_a_reader_of_delta_sees_whole_nights_all_the_while(place: str) -> None:
    _assert_whole_all_the_while(place, through_delta)


def test_a_reader_of_plain_parquet_sees_whole_nights_all_the_while(place: str) -> None:
    _assert_whole_all_the_while(place, through_manifest)


def _assert_whole_all_the_while(place: str, read: Callable[..., list]) -> None:
    workspace = Workspace(place)
    publish_run(workspace, "A")
    seen = _seen(place, read, lambda: _six_changes(workspace))
    assert seen <= {tuple(whole(run_id)) for run_id in "ABCDE"}
    assert len(seen) >= 3, "the reader looked too seldom to prove anything"
