"""Progress of a job in its log: rows done and the time left, or at least that it is at work.

On a terminal Ray Data draws bars for the rows instead.
"""

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray
from ray.actor import ActorHandle

from dualrec.cluster.metrics import EngineMetrics

logger = logging.getLogger(__name__)

INTERVAL_S = 30.0


@dataclass(frozen=True)
class Progress:
    """Rows done, with the rows since the first batch and their seconds, for the rate.

    Attributes:
        loaded: whether an engine has loaded its model.
    """

    rows: int
    rows_since_first: int
    seconds_since_first: float
    loaded: bool = False

    def line(self, total: int, what: str) -> str:
        """Return the state as a line of the log."""
        if self.rows == 0:
            state = (
                "the first answers are being written"
                if self.loaded
                else "the models are being loaded"
            )
            return f"0 of {total:,} {what}: {state}"
        if self.rows_since_first == 0:
            return f"{self.rows:,} of {total:,} {what}"
        rate = self.rows_since_first / self.seconds_since_first
        digits = 0 if rate >= 100 else 1
        left = max(total - self.rows, 0) / rate
        return (
            f"{min(self.rows, total):,} of {total:,} {what}, {rate:,.{digits}f} a second, "
            f"about {left / 60:.1f} min left"
        )


@ray.remote(num_cpus=0)
class RowCounter:
    """Counts the rows that actors have finished, and the seconds in which engines were busy."""

    def __init__(self) -> None:
        self.rows, self.written, self.first_rows, self.first_time = 0, 0, 0, 0.0
        self.loaded = False
        self.engine_s, self.engine_until, self.answered = 0.0, 0.0, 0
        self.metrics = EngineMetrics()

    def add(self, rows: int) -> None:
        """Count rows that are finished."""
        self.rows += rows
        self._begin()

    def engine_loaded(self) -> None:
        """Note that an engine has its model."""
        self.loaded = True

    def add_written(self, answers: int) -> None:
        """Count answers as engines write them, which is long before the batch that they are of is
        finished."""
        self.written += answers
        self._begin()

    def _begin(self) -> None:
        if not self.first_time:
            self.first_rows, self.first_time = self._done(), time.monotonic()

    def _done(self) -> int:
        return max(self.rows, self.written)

    def engine_answered(self, rows: int, seconds: float) -> None:
        """Count rows that an engine was busy with for the last seconds; overlapping seconds of
        several engines count once."""
        now = time.monotonic()
        busy = now - max(now - seconds, self.engine_until)
        self.metrics.busy(busy)
        self.engine_s += busy
        self.engine_until = now
        self.answered += rows

    def engine(self) -> tuple[int, float]:
        """Return the rows that engines have answered, and the seconds in which they had rows."""
        return self.answered, self.engine_s

    def progress(self) -> Progress:
        """Return the state so far."""
        done = self._done()
        return Progress(
            done, done - self.first_rows, time.monotonic() - self.first_time, self.loaded
        )


@contextmanager
def log_progress(total: int, what: str) -> Iterator[ActorHandle]:
    """Yield a RowCounter that actors add to; log a line every half minute until the block ends.

    Args:
        total: rows there are to do.
        what: their name in the log, such as "requests".
    """
    counter = RowCounter.remote()  # type: ignore[attr-defined]
    done = threading.Event()
    thread = threading.Thread(target=_log, args=(counter, total, what, done), daemon=True)
    if not sys.stderr.isatty():
        thread.start()
    try:
        yield counter
    finally:
        done.set()
        if thread.ident:
            thread.join()
        ray.kill(counter)


@contextmanager
def heartbeat(step: str) -> Iterator[None]:
    """Log how long a step has been at work, whenever dualrec has logged nothing else for half a
    minute, until the block is left."""
    ours, latest, done = logging.getLogger("dualrec"), _LatestRecord(), threading.Event()
    thread = threading.Thread(target=_beat, args=(step, latest, done), daemon=True)
    ours.addHandler(latest)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        ours.removeHandler(latest)


class _LatestRecord(logging.Handler):
    """Hold the time of the latest log record, in seconds of time.monotonic()."""

    def __init__(self) -> None:
        super().__init__()
        self.at = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        self.at = time.monotonic()


def _beat(step: str, latest: _LatestRecord, done: threading.Event) -> None:
    started = time.monotonic()
    while not done.wait(max(latest.at + INTERVAL_S - time.monotonic(), 0.01)):
        now = time.monotonic()
        if now - latest.at >= INTERVAL_S:
            logger.info(f"{step}: at work for {now - started:.0f} s")


def _log(counter: ActorHandle, total: int, what: str, done: threading.Event) -> None:
    while not done.wait(INTERVAL_S):
        logger.info(ray.get(counter.progress.remote()).line(total, what))
