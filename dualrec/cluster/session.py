"""The Ray session that a job runs in, and errors that come out of it readable."""

import logging
import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from dualrec import errors
from dualrec.cluster.logs import collect_worker_logs, quiet_loggers, quiet_native_lines
from dualrec.config.settings import ClusterSettings
from dualrec.errors import DualrecError
from dualrec.storage.filesystems import error_remedy, error_text

_RAISED = re.compile(r"^dualrec\.errors\.(\w+): (.*?)(?=\n\n|\Z)", re.DOTALL | re.MULTILINE)
_STORE_FAILED = re.compile(r"^OSError: (.*(?:AWS Error|No space left on device).*)$", re.MULTILINE)
_HOST_AND_PORT = re.compile(r"(?P<host>[^/:]+):(?P<port>\d+)")
CONNECT_S = 10.0
LOCAL_ATTEMPTS = (
    2  # to start Ray here: it gives its processes half a minute, which a busy machine may take
)
logger = logging.getLogger(__name__)
NOT_STARTED = (
    "Ray did not start on this machine: {} It waits half a minute for its processes, and was "
    "started twice: where other work keeps the processors busy, run the same command again when "
    "there is less of it. Its logs are in /tmp/ray/session_latest/logs"
)
NOT_JOINED = (
    "cannot join the Ray cluster at {} (cluster.address, or RAY_ADDRESS in the environment): see "
    f"that it runs and can be reached from here, with Ray {ray.__version__}, or unset the address "
    "for a cluster of this machine alone."
)
FULL_DISK = (
    "the disk of a node is full: Ray keeps there what does not fit into its memory (in /tmp/ray, "
    "unless it was started with --object-spilling-directory). Make room there, or give Ray a "
    "larger disk, more memory or more nodes, and run the same command again; nothing was written "
    "that a job would take for whole"
)


@contextmanager
def ray_session(settings: ClusterSettings) -> Iterator[None]:
    """Connect to the cluster of the settings, else of RAY_ADDRESS, else start one here; leave what
    was there running.

    A DualrecError that was raised in a worker comes out as itself, without the traces of the
    workers.

    Raises:
        DualrecError: the cluster does not answer, or none starts here.
    """
    _use_first_parquet_reader()
    if ray.is_initialized():
        with raise_user_errors():
            yield
        return
    with quiet_native_lines():
        _init(settings)
        quiet_loggers()
        _configure_ray_data_logs()
        try:
            with collect_worker_logs(), raise_user_errors():
                yield
        finally:
            ray.shutdown()


def _init(settings: ClusterSettings) -> None:
    address = settings.address or os.environ.get("RAY_ADDRESS") or "local"
    os.environ.setdefault(
        "RAY_IGNORE_UNHANDLED_ERRORS", "1"
    )  # of tasks that fail beside the one whose error is raised
    options = {}
    if address == "local":
        _size_worker_pool(settings.cpus or os.cpu_count() or 1)
        options = {"num_cpus": settings.cpus} if settings.cpus else {}
    else:
        _check_address(address)
    for attempt in range(1, LOCAL_ATTEMPTS + 1):
        try:
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **options)
        except Exception as error:  # Ray raises no kind of its own here
            reason = str(error).strip().partition("\n")[0]
            if address != "local":
                raise DualrecError(f"{NOT_JOINED.format(address)} {reason}") from error
            if attempt == LOCAL_ATTEMPTS:
                raise DualrecError(NOT_STARTED.format(reason)) from error
            logger.info(f"Ray did not start ({reason}): trying once more")
            ray.shutdown()
        else:
            return


def _check_address(address: str) -> None:
    """Refuse an address where nothing listens; Ray itself would try it for minutes."""
    match = _HOST_AND_PORT.fullmatch(address)
    if match is None:  # "auto"; or none that Ray knows, as it will say
        return
    try:
        socket.create_connection((match["host"], int(match["port"])), timeout=CONNECT_S).close()
    except OSError as error:
        raise DualrecError(f"{NOT_JOINED.format(address)} {error}") from error


def _size_worker_pool(cpus: int) -> None:
    """Keep as many idle workers, of a cluster that is started here, that each step finds those of
    the step before.

    Ray keeps as many idle as CPUs are free, and its shuffle has workers of its own: those before it
    would be started once more after it, in 4 s of the 39 that `prepare` took for 3.2 million
    ratings (two cores). It warns of four times as many workers as it starts at once, which actors
    with fractions of a CPU soon are.
    """
    for name in ("num_workers_soft_limit", "worker_maximum_startup_concurrency"):
        os.environ.setdefault(f"RAY_{name}", str(2 * cpus))


def _configure_ray_data_logs() -> None:
    """Show progress bars on a terminal only: in a job's log they become thousands of lines."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = sys.stderr.isatty()
    context.issue_detectors_config.detectors = []
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    executor = "_internal.execution"
    for raised_too in (
        "exceptions",
        f"{executor}.streaming_executor_state",
        f"{executor}.operators.shuffle_operators",
    ):
        logging.getLogger(f"ray.data.{raised_too}").setLevel(logging.CRITICAL)
    # Where this one has no handler, each of its modules gets one, and tells the terminal what it
    # does.
    logging.getLogger("ray.llm").addHandler(logging.NullHandler())
    logging.getLogger("ray.llm").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(
        logging.ERROR
    )  # it warns that there are no bars


def _use_first_parquet_reader() -> None:
    """Select Ray Data's first Parquet reader.

    Its second starts 32 actors for the footers of each read, however few files.

    A night of three changed users, with 24 reads, took 81 s with the second and 28 s with the first
    (two cores, one run each), and 60 processes more.
    """
    import ray.data

    ray.data.DataContext.get_current().use_datasource_v2 = False


@contextmanager
def raise_user_errors() -> Iterator[None]:
    """Raise the DualrecError that an error of Ray carries, where it carries one."""
    try:
        yield
    # A task's error is one too, where a full disk is its cause.
    except ray.exceptions.OutOfDiskError as error:
        raise DualrecError(FULL_DISK) from error
    except ray.exceptions.RayTaskError as error:
        raised = _raised_in_worker(error)
        if raised is None:
            raise
        raise raised from None


def _raised_in_worker(error: ray.exceptions.RayTaskError) -> DualrecError | None:
    """Return the DualrecError at the root of a task's error, or a store's error there as one; None
    where it is neither. Of Ray Data's errors only the text of the traceback is left."""
    if isinstance(error.cause, DualrecError):
        return error.cause
    match = _RAISED.search(str(error))
    kind = getattr(errors, match.group(1), None) if match else None
    if match and kind is not None:
        return kind(match.group(2))
    store = _STORE_FAILED.search(str(error))
    if store is None:
        return None
    failure = OSError(store.group(1))
    return errors.WorkspaceError(
        f"a worker could not read or write: {error_text(failure)}: {error_remedy(failure)}"
    )
