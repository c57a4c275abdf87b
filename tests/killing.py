"""Kills a training worker of the test's own cluster in the middle of its work."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


@contextmanager
def worker_killed_after_the_first_checkpoint(folder: Path) -> Iterator[None]:
    """Kill one worker as soon as a checkpoint lies in the folder. On leaving, assert that one was killed."""
    killed = threading.Event()
    killer = threading.Thread(target=_kill, args=(folder, killed))
    killer.start()
    yield
    killer.join()
    assert killed.is_set(), "no worker was found while checkpoints were there"


def _kill(folder: Path, killed: threading.Event) -> None:
    for _ in range(2400):
        if list(folder.rglob("checkpoint_*")):
            for worker in _workers():
                worker.kill()
                killed.set()
                return
        time.sleep(0.05)


def _workers() -> Iterator[psutil.Process]:
    """Training workers of this process's cluster; another's on this machine are left alone."""
    for process in psutil.Process().children(recursive=True):
        try:
            if any("ray::RayTrainWorker" in word for word in process.cmdline()):
                yield process
        except psutil.NoSuchProcess:
            continue
