"""Kills a process of the test's own cluster in the middle of its work."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil


@contextmanager
def killed_once(ready: Callable[[], bool], name: str) -> Iterator[None]:
    """Kill one process of this test, by a part of its command line, once it is time. On leaving, assert that one was.

    Args:
        ready: whether it is time, such as when the work's first file is there.
    """
    killed, done = threading.Event(), threading.Event()

    def kill() -> None:
        while not done.wait(0.05):
            if ready() and (found := _processes(name)):
                found[0].kill()
                killed.set()
                return

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    assert killed.is_set(), f"no process {name} was found while there was work"


def _processes(name: str) -> list[psutil.Process]:
    """Processes that this one started, and those that they started; another's on this machine are left alone."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if any(name in word for word in process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found
