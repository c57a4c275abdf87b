"""A job's own log: the lines of its workers, without those that Ray and vLLM print without cause.

Workers forward what dualrec's loggers say: epochs, losses, time left. Everything else that workers,
Ray and vLLM print stays in Ray's log files and its dashboard; here it would bury these lines. Each
message that is left out of the job's own process is named with why it is harmless.
"""

import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import ray
from ray.actor import ActorHandle
from ray.util import log_once

logger = logging.getLogger(__name__)

BUFFER_NAME = "dualrec-worker-logs"
INTERVAL_S = 1.0
TIMEOUT_S = 10.0

# Ray's core logs this for each pool of actors, whose code Ray Data keeps in the object store; the
# driver, which owns it, outlives the pool.
ACTOR_ARGUMENTS = "has constructor arguments in the object store and max_restarts > 0"
# ray.llm calls ray.init once more in a process that is connected; that call looks around, and joins
# nothing.
OTHER_CLUSTERS = "Found multiple active Ray instances"


def quiet_loggers() -> None:
    """Filter known harmless messages out of the loggers of this process."""
    logging.getLogger("ray._private.worker").setLevel(
        logging.WARNING
    )  # "Calling ray.init() again", as above
    services = logging.getLogger("ray._private.services")
    services.filters = [_without_other_clusters]
    # Suppresses the warning that a job hangs where all CPUs are taken: for a moment they are, by
    # the tasks of the step before.
    log_once("cpu_warning")
    # vLLM, as this process imports it, says what GPU functions a CPU lacks. Engines run in
    # processes of their own.
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")


def _without_other_clusters(record: logging.LogRecord) -> bool:
    return OTHER_CLUSTERS not in record.getMessage()


@contextmanager
def quiet_native_lines() -> Iterator[None]:
    """Leave out of standard error, until the block is left, the harmless lines that come from below
    Python.

    They are filtered by a process of its own, so that what a crash says last is still shown.
    Python's own standard error stays as it is, a terminal where it was one.
    """
    grep = shutil.which("grep")
    if grep is None:
        yield
        return
    python_stderr, original = sys.stderr, os.dup(2)
    python_stderr.flush()
    # In a session of its own, since an interrupt from the keyboard is the job's to handle, which
    # says something then.
    command = [
        grep,
        "--line-buffered",
        "--text",
        "--invert-match",
        "--fixed-strings",
        ACTOR_ARGUMENTS,
    ]
    filtering = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=original, start_new_session=True
    )
    assert filtering.stdin is not None
    os.dup2(filtering.stdin.fileno(), 2)
    filtering.stdin.close()
    if python_stderr is sys.__stderr__:
        sys.stderr = os.fdopen(os.dup(original), "w", buffering=1)
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = python_stderr
        os.dup2(original, 2)
        os.close(original)
        with suppress(
            subprocess.TimeoutExpired
        ):  # a child that goes on holds the pipe open, and has its lines filtered
            filtering.wait(timeout=2)


@contextmanager
def silent_native_lines() -> Iterator[None]:
    """Drop what comes to standard error from below Python until the block is left: compilers that a
    library tries out."""
    sys.stderr.flush()
    original, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(original, 2)
        os.close(original)


@ray.remote(num_cpus=0)
class LogBuffer:
    """Hold lines of workers until the driver reads them."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        """Add a line."""
        self.lines.append(line)

    def take(self) -> list[str]:
        """Return the lines that were not read yet."""
        lines, self.lines = self.lines, []
        return lines


@contextmanager
def collect_worker_logs() -> Iterator[None]:
    """Log, in the driver, the lines of workers that call `forward_worker_logs`, until the block is
    left."""
    buffer = LogBuffer.options(name=BUFFER_NAME).remote()  # type: ignore[attr-defined]
    done = threading.Event()
    thread = threading.Thread(target=_log, args=(buffer, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        ray.kill(buffer)


def forward_worker_logs() -> None:
    """Send the lines of this worker's `dualrec` loggers to the driver, where one collects them."""
    with suppress(ValueError):  # no buffer of that name: no driver collects
        handler = _ForwardHandler(ray.get_actor(BUFFER_NAME))
        root = logging.getLogger("dualrec")
        root.setLevel(logging.INFO)
        others = [other for other in root.handlers if not isinstance(other, _ForwardHandler)]
        root.handlers = [*others, handler]


class _ForwardHandler(logging.Handler):
    def __init__(self, buffer: ActorHandle) -> None:
        super().__init__()
        self.buffer = buffer

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(ray.exceptions.RayError):  # a lost line must not end the work
            ray.get(self.buffer.add.remote(record.getMessage()), timeout=TIMEOUT_S)


def _log(buffer: ActorHandle, done: threading.Event) -> None:
    finished = False
    while not finished:
        finished = done.wait(INTERVAL_S)
        for line in ray.get(buffer.take.remote()):
            logger.info(line)
