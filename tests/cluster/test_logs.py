"""A job's log has no line that frightens without cause, and every other line."""

import logging
import subprocess
import sys

import pytest

from dualrec.cluster.logs import (
    ACTOR_ARGUMENTS,
    OTHER_CLUSTERS,
    collect_worker_logs,
    forward_worker_logs,
    quiet_loggers,
)

NATIVE = f"""
import os, sys
from dualrec.cluster.logs import quiet_native_lines
with quiet_native_lines():
    os.write(2, b"[E 1] core_worker.cc:1: Actor 'a' {ACTOR_ARGUMENTS}. See more.\\n")
    os.write(2, b"[E 1] core_worker.cc:2: a real error\\n")
    print("python's own", file=sys.stderr)
    if "crash" in sys.argv:
        os.abort()
os.write(2, b"afterwards\\n")
"""


@pytest.mark.parametrize("ends", ["well", "crash"])
def test_native_lines_are_shown_but_for_the_harmless_ones(ends: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NATIVE, ends], capture_output=True, text=True, check=False
    )
    expected = {"[E 1] core_worker.cc:2: a real error", "python's own"} | (
        {"afterwards"} if ends == "well" else set()
    )
    assert set(done.stderr.splitlines()) == expected
    assert (done.returncode == 0) == (ends == "well")


SILENT = """
import os
from dualrec.cluster.logs import silent_native_lines
with silent_native_lines():
    os.system("echo a compiler's complaint >&2")
os.write(2, b"afterwards\\n")
"""


def test_what_a_library_tries_out_is_not_shown() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SILENT], capture_output=True, text=True, check=True
    )
    assert done.stderr == "afterwards\n"


def test_warnings_are_shown_but_for_the_harmless_ones(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "INFO")
    services, worker = (
        logging.getLogger(f"ray._private.{name}") for name in ("services", "worker")
    )
    monkeypatch.setattr(services, "filters", [])
    monkeypatch.setattr(worker, "level", logging.NOTSET)
    quiet_loggers()
    caplog.set_level(logging.INFO)
    services.warning(f"{OTHER_CLUSTERS}: a, b. Connecting to latest cluster at a.")
    services.warning("another")
    worker.info("Calling ray.init() again after it has already been called.")
    assert caplog.messages == ["another"]


def _work() -> None:
    import ray

    @ray.remote
    def work() -> None:
        forward_worker_logs()
        logging.getLogger("dualrec.sequence.train").info("epoch 1/3")
        logging.getLogger("vllm").warning("noise")

    ray.get([work.remote(), work.remote()])


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_lines_of_workers_reach_the_log_of_the_job_and_nothing_else_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "dualrec")
    with collect_worker_logs():
        _work()
    assert caplog.messages.count("epoch 1/3") == 2
    assert "noise" not in caplog.text


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_worker_without_a_driver_that_collects_works_all_the_same() -> None:
    _work()
