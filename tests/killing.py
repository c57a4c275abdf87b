"""Kills a process of the test's own cluster in the middle of its work."""

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


@contextmanager
def killed_once(ready: Callable[[], bool], name: str) -> Iterator[None]:
    """Kill one process of this test, by a part of its command line, once it is time. On leaving,
    assert that one was.

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


def third_epoch_is_saved(storage: Path) -> Callable[[], bool]:
    """Whether a training that keeps its last checkpoint alone has replaced two of them, as it goes
    on."""
    seen: set[Path] = set()

    def ready() -> bool:
        there = set(storage.rglob("checkpoint_*"))
        seen.update(there)
        return len(seen - there) >= 2

    return ready


def assert_resumed(messages: Iterable[str], epochs: int) -> None:
    """A training that was killed once its third epoch was saved went on from there or later.

    Ray Train takes note of a checkpoint when it next looks at its workers, so epochs that are
    shorter than that, as those of the tests are, may be trained again although they had ended.

    Args:
        messages: the log, with a line of the first worker for each epoch that was trained.
    """
    ends = [re.match(r"epoch (\d+)/\d+: loss ", message) for message in messages]
    trained = Counter(int(end[1]) for end in ends if end)
    assert set(trained) == set(range(1, epochs + 1))
    twice = {epoch: times for epoch, times in trained.items() if times > 1}
    assert not {1, 2, 3} & set(twice), f"it began anew: {twice}"
    assert set(twice.values()) <= {2}, f"more than the one kill: {twice}"


def _processes(name: str) -> list[psutil.Process]:
    """Processes that this one started, and those that they started; another's on this machine are
    left alone."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if any(name in word for word in process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found
