"""Drivers that are killed, stopped or doubled: the same command again publishes every user once,
and scores nobody twice."""

import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import pyarrow.parquet as pq
import pytest

from dualrec.nightly.lease import Lease
from dualrec.nightly.nightly import nightly
from dualrec.nightly.plan import latest_plan
from dualrec.nightly.staging import scored_so_far
from dualrec.storage.workspace import Workspace
from tests.nightly.killed import AFTER_FILES, POINTS, deadly
from tests.nightly.site import LENGTH, SECOND, SLOW, Site, assert_published_once, scored_files
from tests.processes import wait_until
from tests.readers import through_delta, through_manifest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

RUN_DATE = date.fromisoformat(SECOND)
IN_THE_MIDDLE = "scored-a-few"
# Users who watched something, where a driver ends in this process between its plan and its report.
FEW = (3, 4)
FAR_FROM_SCORING = {
    "before-the-plan",
    "after-the-plan",
    "before-the-report",
    "in-clean-up",
}  # there, nobody did
# so long is waited for a driver that has ended, and whose process lives
SOON = "nightly.lease_seconds=1"


class Reader:
    """Reads a night over and over by both ways; every look must find nothing, or the whole of one
    night."""

    def __init__(self, site: Site) -> None:
        self.workspace, self.users = Workspace(site.workspace), sorted(site.lengths)
        self.looks, self.partial = Counter[int](), list[Any]()

    def look(self) -> None:
        """Look once."""
        for read in (through_manifest, through_delta):
            rows = read(self.workspace, RUN_DATE)
            self.looks[len(rows)] += 1
            whole = sorted({user for user, _, _ in rows}) == self.users and len(
                rows
            ) == LENGTH * len(self.users)
            if rows and not whole:
                self.partial.append(rows)


@contextmanager
def polled(site: Site) -> Iterator[Reader]:
    """A reader who polls until the block is left; then every look must have been whole."""
    reader, done = Reader(site), threading.Event()

    def poll() -> None:
        while not done.wait(0.05):
            reader.look()

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield reader
    finally:
        done.set()
        thread.join()
    reader.look()
    assert not reader.partial
    assert set(reader.looks) <= {0, LENGTH * len(site.lengths)}


def _finished(site: Site) -> set[str]:
    """The prompts of the users whom whole files of scored traces hold."""
    workspace = Workspace(site.workspace)
    plan = latest_plan(workspace, RUN_DATE)
    files = [] if plan is None else scored_so_far(workspace, plan, 99).files
    tables = [
        pq.read_table(
            workspace.path(name),
            columns=["prompt"],
            filesystem=workspace.filesystem,
            partitioning=None,
        )
        for name in files
    ]
    return {prompt for table in tables for prompt in table.column("prompt").to_pylist()}


def _killed_and_run_again(site: Site, point: str) -> None:
    site.watch(*site.lengths)
    with polled(site) as reader:
        killed = site.start_killed(SECOND, point, *([SLOW] if point in AFTER_FILES else []))
        ended = killed.communicate(timeout=120)
        assert killed.returncode == -signal.SIGKILL, ended
        finished = _finished(site)
        assert finished or point not in AFTER_FILES
        nightly(site.settings_of(SECOND))
    assert reader.looks[LENGTH * len(site.lengths)] > 0
    asked = site.asked()
    assert len(asked) == len(site.lengths), "every user was asked for"
    assert all(asked[prompt] == 1 for prompt in finished), (
        "nobody who was finished was scored twice"
    )
    assert "already published" in str(nightly(site.settings_of(SECOND)).lines["run date"])
    assert not site.asked()


class Ended(BaseException):
    """The end of a driver in the process of the tests: nothing in the job catches it."""


def _end_here(site: Site, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the night in this process as far as a point. Its lease is left as by a driver that dies:
    it says nothing more."""

    def die() -> None:
        raise Ended

    owner, name, when = POINTS[point]
    beat = Lease.beat
    with monkeypatch.context() as patch:
        patch.setattr(Lease, "beat", lambda lease, ended=False: None if ended else beat(lease))
        patch.setattr(owner, name, deadly(getattr(owner, name), when, die))
        with pytest.raises(Ended):
            nightly(site.settings_of(SECOND, SOON))


def _ended_and_run_again(site: Site, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = () if point in FAR_FROM_SCORING else FEW
    site.watch(*changed)
    reader = Reader(site)
    _end_here(site, point, monkeypatch)
    reader.look()
    nightly(site.settings_of(SECOND, SOON))
    assert not reader.partial
    assert_published_once(site, SECOND)
    asked = site.asked()
    assert len(asked) == len(changed), "who watched something was scored, and nobody else"
    assert set(asked.values()) <= {1}, "nobody was scored twice"
    assert "already published" in str(nightly(site.settings_of(SECOND, SOON)).lines["run date"])


@pytest.mark.parametrize("point", POINTS)
def test_a_driver_that_ends_anywhere_is_followed_by_the_same_command(
    site: Site, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The short form of the next two, without a process: an exception that nothing catches ends the
    driver.

    Whatever cleans up on the way out still runs here, except that the lease is not released; the
    actors are stopped in order, two users at most are scored and nobody reads meanwhile. What
    SIGKILL leaves behind, points in the middle of scoring and readers who see whole nights all the
    while are in the full form.
    """
    _ended_and_run_again(site, point, monkeypatch)


@pytest.mark.parametrize("point", ["lists-written", "after-the-commit"])
def test_a_driver_of_a_night_on_s3_that_ends_is_followed_by_the_same_command(
    published_site: Site, s3_workspace: str, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The short form of the night on S3 that is killed anywhere; see the one above for what it
    leaves out."""
    _ended_and_run_again(published_site.copied(s3_workspace), point, monkeypatch)


def test_a_driver_killed_in_the_middle_is_followed_by_the_same_command(site: Site) -> None:
    _killed_and_run_again(site, IN_THE_MIDDLE)


@pytest.mark.chaos
@pytest.mark.parametrize(
    "point", [point for point in (*POINTS, *AFTER_FILES) if point != IN_THE_MIDDLE]
)
def test_a_driver_killed_anywhere_is_followed_by_the_same_command(site: Site, point: str) -> None:
    _killed_and_run_again(site, point)


@pytest.mark.chaos
@pytest.mark.parametrize("point", [*POINTS, *AFTER_FILES])
def test_a_driver_of_a_night_on_s3_killed_anywhere_is_followed_by_the_same_command(
    published_site: Site, s3_workspace: str, point: str
) -> None:
    _killed_and_run_again(published_site.copied(s3_workspace), point)


def test_of_two_drivers_one_works_and_the_other_stops(site: Site) -> None:
    site.watch(*site.lengths)
    with polled(site):
        drivers = [site.start(SECOND, SLOW) for _ in range(2)]
        ended = [driver.communicate(timeout=300) for driver in drivers]
    codes = sorted(driver.returncode for driver in drivers)
    assert codes == [0, 4], ended
    assert any("another driver" in errors for _, errors in ended)
    assert set(site.asked().values()) == {1}, "nobody was scored twice"


@pytest.mark.chaos
def test_a_driver_that_was_thought_dead_and_comes_back_changes_nothing(site: Site) -> None:
    site.watch(*site.lengths)
    with polled(site):
        first = site.start(SECOND, SLOW, own_cluster=True)
        wait_until(lambda: scored_files(site.workspace) >= 2)
        first.send_signal(signal.SIGSTOP)  # its actors work on
        nightly(site.settings_of(SECOND))
        standing = through_manifest(Workspace(site.workspace), RUN_DATE)
        first.send_signal(signal.SIGCONT)
        output, errors = first.communicate(timeout=120)
    assert first.returncode == 4, output + errors
    assert "another driver took this run date over" in errors
    assert through_manifest(Workspace(site.workspace), RUN_DATE) == standing
    assert len(standing) == LENGTH * len(site.lengths)
