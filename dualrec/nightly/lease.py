"""One driver a night: whoever holds the lease works on it, and shows that it lives by a file that
it keeps rewriting.

Attempts at a night are numbered. A driver takes the next number by a conditional put, and the
highest number holds. It takes it only where the holder ended, is a dead process of this machine, or
did not rewrite its file while it was watched for the time of the lease; no clocks of two machines
are compared. A driver that finds a higher number than its own was
taken for dead: it stops, and whatever it had under way is left in folders of its own attempt, which
count no more.
"""

import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from pydantic import BaseModel

from dualrec.errors import LeaseError, WorkspaceError
from dualrec.nightly.plan import night_place, numbered
from dualrec.storage.workspace import Workspace

BEATS = 5  # in the time of a lease
LONG_DEAD_S = 600.0  # more than clocks differ: a holder silent for so long needs no watching


class Alive(BaseModel):
    """What the holder of a lease keeps writing.

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
    """A held lease. Create it by `held`.

    Attributes:
        number: of the attempt.
        spending: what the attempt cost so far; the caller sets it, and each beat keeps it for
            whoever goes on.
    """

    def __init__(self, workspace: Workspace, run_date: date, number: int, seconds: float) -> None:
        self.workspace, self.folder, self.number, self.seconds = (
            workspace,
            _folder(run_date),
            number,
            seconds,
        )
        self.run_date = run_date
        self.driver = uuid.uuid4().hex
        self.spending: Callable[[], dict[str, Any]] = dict
        self.lost = False
        self._beats = 0
        self._stop = threading.Event()

    def check(self) -> None:
        """Look whether the lease is still held.

        Raises:
            LeaseError: another driver took the night over.
        """
        self.lost = self.lost or numbered(self.workspace, self.folder)[-1].number > self.number
        if self.lost:
            raise LeaseError(
                f"{self.run_date}: another driver took this night over, because this one was not heard of for "
                f"{self.seconds:g} s; this one stops, and changes nothing more: `dualrec nights` shows what stands"
            )

    def beat(self, ended: bool = False) -> None:
        """Show that this driver lives, or that it has ended by itself."""
        self._beats += 1
        alive = Alive(
            driver=self.driver,
            host=_host(),
            pid=os.getpid(),
            beats=self._beats,
            ended=ended,
            spent=self.spending(),
        )
        self.workspace.write_bytes(
            _alive_name(self.folder, self.number), alive.model_dump_json().encode()
        )

    def keep(self, on_loss: Callable[[], None]) -> None:
        """Beat until `release`; call `on_loss`, once, where another driver takes over."""
        while not self._stop.wait(self.seconds / BEATS):
            try:
                self.beat()
                self.check()
            except WorkspaceError:
                continue  # the store fails for a while: the next look tells who holds the lease
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
def held(workspace: Workspace, run_date: date, seconds: float) -> Iterator[Lease]:
    """Take the lease of a night and hold it until the block is left. Call it in the main thread.

    Raises:
        LeaseError: another driver is at work on this night; or, in the midst of the block, took it
            over.
        WorkspaceError: the workspace cannot be read or written.
    """
    lease = _take(workspace, run_date, seconds)
    main = threading.main_thread()

    def lost(number: int, frame: FrameType | None) -> None:
        lease.check()

    before = signal.signal(signal.SIGUSR1, lost)
    thread = threading.Thread(
        target=lease.keep,
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


def spent_before(workspace: Workspace, run_date: date, number: int) -> list[dict[str, Any]]:
    """What each earlier attempt at a night cost, as far as it was written down."""
    return [
        alive.spent
        for attempt in numbered(workspace, _folder(run_date))
        if attempt.number < number
        and (alive := _alive(workspace, _folder(run_date), attempt.number))
    ]


def _take(workspace: Workspace, run_date: date, seconds: float) -> Lease:
    folder = _folder(run_date)
    attempts = numbered(workspace, folder)
    last = attempts[-1].number if attempts else 0
    if last:
        _wait_for_silence(workspace, run_date, last, seconds)
    lease = Lease(workspace, run_date, last + 1, seconds)
    if not workspace.put_once(
        f"{folder}/{lease.number:04d}.json", f'{{"driver": "{lease.driver}"}}'.encode()
    ):
        raise LeaseError(
            f"{run_date}: another driver began on this night at this moment; this one stops"
        )
    lease.beat()
    return lease


def _wait_for_silence(workspace: Workspace, run_date: date, number: int, seconds: float) -> None:
    """Return once the holder is known to be dead.

    Raises:
        LeaseError: it lives.
    """
    folder = _folder(run_date)
    first = _alive(workspace, folder, number)
    if first is not None and (
        first.ended or _died_here(first) or _long_silent(workspace, folder, number)
    ):
        return
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(min(seconds / BEATS, max(until - time.monotonic(), 0.01)))
        now = _alive(workspace, folder, number)
        if now is not None and now.ended:
            return
        if now is not None and now != first:
            raise LeaseError(
                f"{run_date}: another driver is at work on this night (process {now.pid} on {now.host}); this one stops. "
                f"Wait for it, or end it: {seconds:g} s after it was last heard of, the same command goes on"
            )


def _died_here(alive: Alive) -> bool:
    if alive.host != _host():
        return False
    try:
        os.kill(alive.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _long_silent(workspace: Workspace, folder: str, number: int) -> bool:
    written = workspace.filesystem.get_file_info(workspace.path(_alive_name(folder, number))).mtime
    return written is not None and (datetime.now(UTC) - written).total_seconds() > LONG_DEAD_S


def _alive(workspace: Workspace, folder: str, number: int) -> Alive | None:
    try:
        return Alive.model_validate_json(workspace.read_bytes(_alive_name(folder, number)))
    except WorkspaceError:
        return None  # it died, or is about to write it for the first time


def _folder(run_date: date) -> str:
    return f"{night_place(run_date)}/attempts"


def _alive_name(folder: str, number: int) -> str:
    return f"{folder}/{number:04d}.alive"


def _host() -> str:
    """The place in which a process id means a process: this machine, and of it the container, where
    one is told."""
    space = ""
    with suppress(OSError):
        space = Path("/proc/sys/kernel/random/boot_id").read_text()[:8] + os.readlink(
            "/proc/self/ns/pid"
        )
    return f"{socket.gethostname()}/{space}"


def _ident(thread: threading.Thread) -> int:
    assert thread.ident is not None, "a thread that runs has an identity"
    return thread.ident
