"""One driver per run date: the holder of the lease works on it, and rewrites a file as heartbeat.

Attempts are numbered. A driver takes the next number by a conditional put, and the highest number
holds. It takes it only where the holder ended, is a dead process of this machine, or did not
rewrite its file while it was watched for the time of the lease; no clocks of two machines are
compared. A driver that finds a higher number than its own was taken for dead: it stops, and what it
had under way is left in folders of its own attempt, which no longer count. Knows no plan.
"""

import os
import re
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from pathlib import Path, PurePosixPath
from types import FrameType
from typing import Any, NamedTuple

from pydantic import BaseModel

from dualrec.errors import LeaseError, WorkspaceError
from dualrec.storage.workspace import Workspace

NIGHTLY = "nightly"
BEATS_PER_LEASE = 5
LONG_DEAD_S = 600.0  # more than clocks differ: a holder silent for so long needs no watching

_NUMBERED = re.compile(r"(\d{4})\.json")


class NumberedFile(NamedTuple):
    """A numbered file of a folder."""

    number: int
    name: str


def state_folder(run_date: date) -> str:
    """Return the folder with the nightly job's own state of one run date."""
    return f"{NIGHTLY}/run_date={run_date}"


def numbered_files(workspace: Workspace, folder: str) -> list[NumberedFile]:
    """List the files NUMBER.json of a folder, in the order of their numbers."""
    files = []
    for info in workspace.files(folder):
        name = workspace.name_of(info.path)
        if match := _NUMBERED.fullmatch(PurePosixPath(name).name):
            files.append(NumberedFile(int(match[1]), name))
    return sorted(files)


class Heartbeat(BaseModel):
    """The heartbeat file of a lease's holder.

    Attributes:
        spent: what the attempt cost so far.
    """

    driver: str
    host: str
    pid: int
    beats: int
    ended: bool
    spent: dict[str, Any]


class Lease:
    """A lease that is held. Create it by `hold_lease`.

    Attributes:
        number: of the attempt.
        spending: returns what the attempt cost so far; the caller sets it, and each beat saves it
            for the next driver.
    """

    def __init__(self, workspace: Workspace, run_date: date, number: int, seconds: float) -> None:
        self.workspace, self.run_date = workspace, run_date
        self.folder, self.number, self.seconds = _folder(run_date), number, seconds
        self.driver = uuid.uuid4().hex
        self.spending: Callable[[], dict[str, Any]] = dict
        self.lost = False
        self._beats = 0
        self._stop = threading.Event()

    def check(self) -> None:
        """Check that the lease is still held.

        Raises:
            LeaseError: another driver took the run date over.
        """
        last = numbered_files(self.workspace, self.folder)[-1].number
        self.lost = self.lost or last > self.number
        if self.lost:
            raise LeaseError(
                f"{self.run_date}: another driver took this run date over, because this one was "
                f"silent for {self.seconds:g} s; this one stops, and changes nothing more: "
                "`dualrec nights` shows the active snapshot"
            )

    def beat(self, ended: bool = False) -> None:
        """Write a heartbeat: this driver lives, or has ended by itself."""
        self._beats += 1
        heartbeat = Heartbeat(
            driver=self.driver,
            host=_host(),
            pid=os.getpid(),
            beats=self._beats,
            ended=ended,
            spent=self.spending(),
        )
        name = _heartbeat_name(self.folder, self.number)
        self.workspace.write_bytes(name, heartbeat.model_dump_json().encode())

    def keep_alive(self, on_loss: Callable[[], None]) -> None:
        """Beat until `release`; call `on_loss`, once, where another driver takes over."""
        while not self._stop.wait(self.seconds / BEATS_PER_LEASE):
            try:
                self.beat()
                self.check()
            except WorkspaceError:
                continue  # the store fails for a while: the next check says who holds the lease
            except LeaseError:
                on_loss()
                return

    def release(self) -> None:
        """End the attempt, so that another driver need not wait."""
        self._stop.set()
        with suppress(WorkspaceError):
            if not self.lost:
                self.beat(ended=True)


@contextmanager
def hold_lease(workspace: Workspace, run_date: date, seconds: float) -> Iterator[Lease]:
    """Take the lease of a run date, and hold it to the end of the block. Call in the main thread.

    Raises:
        LeaseError: another driver works on this run date; or, in the midst of the block, took it
            over.
        WorkspaceError: the workspace cannot be read or written.
    """
    lease = _take(workspace, run_date, seconds)
    main = threading.main_thread()

    def lost(number: int, frame: FrameType | None) -> None:
        lease.check()

    before = signal.signal(signal.SIGUSR1, lost)
    thread = threading.Thread(
        target=lease.keep_alive,
        args=(lambda: signal.pthread_kill(_ident(main), signal.SIGUSR1),),
        daemon=True,
    )
    thread.start()
    try:
        yield lease
    finally:
        lease.release()
        thread.join()
        signal.signal(signal.SIGUSR1, before)


def earlier_spending(workspace: Workspace, run_date: date, number: int) -> list[dict[str, Any]]:
    """Return what each earlier attempt at a run date cost, as far as its heartbeats say."""
    spent = []
    for attempt in numbered_files(workspace, _folder(run_date)):
        if attempt.number < number:
            heartbeat = _read_heartbeat(workspace, _folder(run_date), attempt.number)
            if heartbeat is not None:
                spent.append(heartbeat.spent)
    return spent


def _take(workspace: Workspace, run_date: date, seconds: float) -> Lease:
    folder = _folder(run_date)
    attempts = numbered_files(workspace, folder)
    last = attempts[-1].number if attempts else 0
    if last:
        _wait_for_silence(workspace, run_date, last, seconds)
    lease = Lease(workspace, run_date, last + 1, seconds)
    name = f"{folder}/{lease.number:04d}.json"
    if not workspace.put_once(name, f'{{"driver": "{lease.driver}"}}'.encode()):
        raise LeaseError(
            f"{run_date}: another driver began on this run date at this moment; this one stops"
        )
    lease.beat()
    return lease


def _wait_for_silence(workspace: Workspace, run_date: date, number: int, seconds: float) -> None:
    """Return once the holder is known to be dead.

    Raises:
        LeaseError: it lives.
    """
    folder = _folder(run_date)
    first = _read_heartbeat(workspace, folder, number)
    if first is not None and (
        first.ended or _died_here(first) or _long_silent(workspace, folder, number)
    ):
        return
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(min(seconds / BEATS_PER_LEASE, max(until - time.monotonic(), 0.01)))
        now = _read_heartbeat(workspace, folder, number)
        if now is not None and now.ended:
            return
        if now is not None and now != first:
            raise LeaseError(
                f"{run_date}: another driver works on this run date (process {now.pid} on "
                f"{now.host}); this one stops. Wait for it, or end it: {seconds:g} s after its "
                "last heartbeat, the same command resumes the run"
            )


def _died_here(heartbeat: Heartbeat) -> bool:
    if heartbeat.host != _host():
        return False
    try:
        os.kill(heartbeat.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _long_silent(workspace: Workspace, folder: str, number: int) -> bool:
    path = workspace.path(_heartbeat_name(folder, number))
    written = workspace.filesystem.get_file_info(path).mtime
    return written is not None and (datetime.now(UTC) - written).total_seconds() > LONG_DEAD_S


def _read_heartbeat(workspace: Workspace, folder: str, number: int) -> Heartbeat | None:
    try:
        return Heartbeat.model_validate_json(workspace.read_bytes(_heartbeat_name(folder, number)))
    except WorkspaceError:
        return None  # it died, or is about to write it for the first time


def _folder(run_date: date) -> str:
    return f"{state_folder(run_date)}/attempts"


def _heartbeat_name(folder: str, number: int) -> str:
    return f"{folder}/{number:04d}.alive"


def _host() -> str:
    """Return the scope of a process id: this machine's boot and, where known, container."""
    space = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        space = boot + os.readlink("/proc/self/ns/pid")
    return f"{socket.gethostname()}/{space}"


def _ident(thread: threading.Thread) -> int:
    assert thread.ident is not None, "a thread that runs has an identity"
    return thread.ident
