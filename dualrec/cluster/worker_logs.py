"""The lines that workers tell whoever runs a job: epochs, losses, time left.

Everything else that workers, Ray and vLLM print stays in Ray's log files and its dashboard, where
it can be looked up; in a job's own log it would bury these lines.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator

import ray
from ray.actor import ActorHandle

logger = logging.getLogger(__name__)

NAME = "dualrec-journal"
INTERVAL_S = 1.0
WAIT_S = 10.0


@ray.remote(num_cpus=0)
class Journal:
    """Keeps lines until they are read."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def tell(self, line: str) -> None:
        """Add a line."""
        self.lines.append(line)

    def take(self) -> list[str]:
        """Give the lines that were not read yet."""
        lines, self.lines = self.lines, []
        return lines


@contextlib.contextmanager
def workers_heard() -> Iterator[None]:
    """Log, here, what workers of this Ray session tell by `tell_driver`, until the block is left."""
    journal = Journal.options(name=NAME).remote()  # type: ignore[attr-defined]
    done = threading.Event()
    thread = threading.Thread(target=_log, args=(journal, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        ray.kill(journal)


def tell_driver() -> None:
    """Send what this worker's `dualrec` loggers say to the driver's log, where a driver listens."""
    with contextlib.suppress(ValueError):  # no journal of that name: nobody listens
        handler = _Relay(ray.get_actor(NAME))
        ours = logging.getLogger("dualrec")
        ours.setLevel(logging.INFO)
        ours.handlers = [one for one in ours.handlers if not isinstance(one, _Relay)] + [handler]


class _Relay(logging.Handler):
    def __init__(self, journal: ActorHandle) -> None:
        super().__init__()
        self.journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(ray.exceptions.RayError):  # a lost line must not end the work
            ray.get(self.journal.tell.remote(record.getMessage()), timeout=WAIT_S)


def _log(journal: ActorHandle, done: threading.Event) -> None:
    finished = False
    while not finished:
        finished = done.wait(INTERVAL_S)
        for line in ray.get(journal.take.remote()):
            logger.info(line)
