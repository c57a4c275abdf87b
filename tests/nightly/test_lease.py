"""One driver a night: who may begin, who must stop, and what is told of it."""

import os
import subprocess
import sys
import threading
import time
from datetime import date

import pytest

from dualrec.errors import LeaseError
from dualrec.nightly.lease import BEATS_PER_LEASE, Lease, earlier_spending, hold_lease
from dualrec.storage.workspace import Workspace
from tests.processes import wait_until

NIGHT = date(2026, 11, 1)
SILENT_S = 0.3  # of a lease whose holder says nothing: so long is waited for
# of one whose holder lives: other work on this machine must not silence it, and nobody waits for
# its end
LIVING_S = 1.0


def _beating(workspace: Workspace, number: int) -> Lease:
    """A lease whose driver lives elsewhere, as the files say."""
    lease = Lease(workspace, NIGHT, number, LIVING_S)
    workspace.put_once(f"{lease.folder}/{number:04d}.json", b"{}")
    return lease


def _elsewhere(monkeypatch: pytest.MonkeyPatch, lease: Lease) -> None:
    """One sign of life of a driver on another machine."""
    with monkeypatch.context() as patch:
        patch.setattr("dualrec.nightly.lease._host", lambda: "another")
        lease.beat()


def test_a_night_that_ended_is_taken_at_once_and_attempts_are_counted(place: str) -> None:
    workspace = Workspace(place)
    for number in (1, 2, 3):
        started = time.monotonic()
        with hold_lease(workspace, NIGHT, 60) as lease:
            assert lease.number == number
        assert time.monotonic() - started < 30


def test_a_second_driver_stops_and_names_the_first(place: str) -> None:
    workspace = Workspace(place)
    with (
        hold_lease(workspace, NIGHT, LIVING_S) as lease,
        pytest.raises(LeaseError, match=f"process {os.getpid()}"),
        hold_lease(workspace, NIGHT, LIVING_S),
    ):
        pytest.fail("two drivers at once")
    assert not lease.lost


def test_a_driver_that_died_on_this_machine_is_not_waited_for(tmp_path: object) -> None:
    workspace = Workspace(str(tmp_path))
    code = (
        "import os, signal; from datetime import date\n"
        "from dualrec.nightly.lease import hold_lease\n"
        "from dualrec.storage.workspace import Workspace\n"
        f"with hold_lease(Workspace({str(tmp_path)!r}), date(2026, 11, 1), 60):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == -9
    started = time.monotonic()
    with hold_lease(workspace, NIGHT, 60) as lease:
        assert lease.number == 2
    assert time.monotonic() - started < 30


def test_a_silent_driver_elsewhere_is_watched_for_the_time_of_the_lease_and_then_taken_for_dead(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(place)
    _elsewhere(monkeypatch, _beating(workspace, 1))
    started = time.monotonic()
    with hold_lease(workspace, NIGHT, SILENT_S) as lease:
        assert lease.number == 2
    assert time.monotonic() - started >= SILENT_S


def test_a_driver_that_took_its_number_and_was_never_heard_of_is_taken_for_dead(place: str) -> None:
    workspace = Workspace(place)
    _beating(workspace, 1)
    with hold_lease(workspace, NIGHT, SILENT_S) as lease:
        assert lease.number == 2


def test_a_driver_elsewhere_that_gives_signs_of_life_is_left_alone(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, done = Workspace(place), threading.Event()
    first = _beating(workspace, 1)
    monkeypatch.setattr("dualrec.nightly.lease._died_here", lambda alive: False)

    def live() -> None:
        while not done.wait(LIVING_S / BEATS_PER_LEASE):
            first.beat()

    first.beat()
    thread = threading.Thread(target=live)
    thread.start()
    try:
        with (
            pytest.raises(LeaseError, match="another driver works on this run date"),
            hold_lease(workspace, NIGHT, LIVING_S),
        ):
            pytest.fail("two drivers at once")
    finally:
        done.set()
        thread.join()


def _work_while_another_takes_over(workspace: Workspace) -> None:
    with hold_lease(workspace, NIGHT, SILENT_S) as lease:
        _beating(workspace, lease.number + 1)
        threading.Event().wait(30)


def test_a_driver_that_was_thought_dead_is_interrupted_in_its_work(place: str) -> None:
    started = time.monotonic()
    with pytest.raises(LeaseError, match="another driver took this run date over"):
        _work_while_another_takes_over(Workspace(place))
    assert time.monotonic() - started < 20


def test_a_driver_that_was_thought_dead_finds_out_when_it_looks(place: str) -> None:
    workspace = Workspace(place)
    with hold_lease(workspace, NIGHT, 60) as lease:
        lease.check()
        _beating(workspace, lease.number + 1)
        with pytest.raises(LeaseError, match="changes nothing more"):
            lease.check()


def test_a_store_that_fails_for_a_while_costs_no_lease(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dualrec.errors import WorkspaceError

    workspace = Workspace(str(tmp_path))
    failures: list[object] = []
    with hold_lease(workspace, NIGHT, SILENT_S) as lease:

        def fail(*written: object) -> None:
            failures.append(written)
            raise WorkspaceError("503")

        with monkeypatch.context() as patch:
            patch.setattr(workspace, "write_bytes", fail)
            wait_until(lambda: len(failures) >= BEATS_PER_LEASE)
        beats = lease._beats
        wait_until(lambda: lease._beats > beats + 1)
        lease.check()


def test_what_an_attempt_cost_is_kept_even_if_it_is_killed(place: str) -> None:
    workspace = Workspace(place)
    first = _beating(workspace, 1)
    first.spending = lambda: {"engine_seconds": 12.5}
    first.beat()
    _beating(workspace, 2)  # killed before its first sign of life
    assert earlier_spending(workspace, NIGHT, 3) == [{"engine_seconds": 12.5}]
