"""A job's log has no line that frightens without cause, and every other line."""

import logging
import subprocess
import sys

import pytest

from dualrec.cluster.log_filters import ACTOR_ARGUMENTS, OTHER_CLUSTERS, quiet_loggers

NATIVE = f"""
import os, sys
from dualrec.cluster.log_filters import quiet_native_lines
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
from dualrec.cluster.log_filters import silent_native_lines
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
