"""Keeps out of a job's own log what Ray and vLLM say there without cause. Their own logs have all
of it.

Each message is named with why it is harmless; whatever else they say is shown.
"""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ray.util import log_once

# Ray's core says so of each pool of actors, whose code Ray Data keeps in the object store; the
# driver, which owns it, outlives the pool.
ACTOR_ARGUMENTS = "has constructor arguments in the object store and max_restarts > 0"
# ray.llm calls ray.init once more in a process that is connected; that call looks around, and joins
# nothing.
OTHER_CLUSTERS = "Found multiple active Ray instances"


def quiet_loggers() -> None:
    """Let the loggers of this process leave out what is known to be harmless."""
    logging.getLogger("ray._private.worker").setLevel(
        logging.WARNING
    )  # "Calling ray.init() again", as above
    services = logging.getLogger("ray._private.services")
    services.filters = [_without_other_clusters]
    # Marks as said that a job hangs where all CPUs are taken: they are for a moment, by the tasks
    # of the step before.
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
