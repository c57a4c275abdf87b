"""The Ray session that a job runs in, and errors that come out of it readable."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from dualrec.errors import DualrecError
from dualrec.settings import ClusterSettings

logger = logging.getLogger(__name__)


@contextmanager
def ray_session(settings: ClusterSettings) -> Iterator[None]:
    """Connect to the cluster of the settings, else of RAY_ADDRESS, else start one here; leave what was there running.

    A DualrecError that was raised in a worker comes out as itself, without the traces of the workers.
    """
    if ray.is_initialized():
        with user_errors():
            yield
        return
    address = settings.address or os.environ.get("RAY_ADDRESS") or "local"
    options = {"num_cpus": settings.cpus} if address == "local" and settings.cpus else {}
    ray.init(address=address, logging_level=logging.ERROR, log_to_driver=True, **options)
    _show_progress_where_it_can_be_seen()
    try:
        with user_errors():
            yield
    finally:
        ray.shutdown()


def _show_progress_where_it_can_be_seen() -> None:
    """Progress bars on a terminal; in the log of a job, where bars become thousands of lines, our own lines do."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = sys.stderr.isatty()
    context.issue_detectors_config.detectors = []
    logging.getLogger("ray.data").setLevel(logging.WARNING)


@contextmanager
def user_errors() -> Iterator[None]:
    """Raise the DualrecError that an error of Ray carries, where it carries one."""
    try:
        yield
    except DualrecError as error:
        raise _innermost(error) from None
    except Exception as error:
        found = _innermost(error)
        if found is error:
            raise
        raise found from None


def _innermost(error: BaseException) -> BaseException:
    """The DualrecError at the root of a chain of causes, else `error` itself."""
    seen: set[int] = set()
    link: BaseException | None = error
    found = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        if type(link).__module__.startswith("dualrec.") and isinstance(link, DualrecError):
            found = link
        link = getattr(link, "cause", None) or link.__cause__ or link.__context__
    return found
