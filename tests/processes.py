"""Servers that a test starts for itself, and ends with all that they started and nothing else."""

import contextlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


def wait_until(ready: Callable[[], bool], seconds: float = 240) -> None:
    """Wait for a moment in what goes on beside the test."""
    until = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until, f"nothing happened in {seconds:.0f} s"
        time.sleep(0.02)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running(
    command: list[str], environment: dict[str, str], answers_at: str, timeout_s: float, log: Path
) -> Iterator[None]:
    """Run a server until the block ends. It has started once it answers at a URL, if only to ask
    for a key."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, env=environment, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        _wait(process, answers_at, time.monotonic() + timeout_s, log)
        yield
    finally:
        stop(process)


def _wait(process: subprocess.Popen[bytes], url: str, until: float, log: Path) -> None:
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.3)
        else:
            return
    raise AssertionError(f"nothing answers at {url}:\n{log.read_text()}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server and all that it started; kill what does not end by itself within seconds."""
    started = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGTERM)
    for child in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.terminate()
    _, alive = psutil.wait_procs(started, timeout=3)
    for child in alive:
        child.kill()
    process.kill()
    process.wait(timeout=20)
