"""Ray that cannot be joined or started is told at once, with what to do; one that starts here keeps
its workers."""

import os
from contextlib import nullcontext
from typing import Any

import pytest
import ray

from dualrec.cluster.session import ray_session
from dualrec.config.settings import ClusterSettings
from dualrec.errors import DualrecError
from tests.processes import free_port

KEPT = "RAY_num_workers_soft_limit"


@pytest.fixture(autouse=True)
def no_cluster_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the tests before have started."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)


def test_a_cluster_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(DualrecError, match=f"cannot join the Ray cluster at {address} .*refused"):
        _enter(ClusterSettings(address=address))
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(DualrecError, match="RAY_ADDRESS in the environment"):
        _enter(ClusterSettings())


@pytest.mark.parametrize(
    ("address", "told"),
    [
        (None, "Ray did not start on this machine: No node. It waits"),
        ("auto", r"cluster at auto .* alone\. No node\.$"),
    ],
)
def test_what_ray_says_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, address: str | None, told: str
) -> None:
    def fail(**_: Any) -> None:
        raise Exception("No node.\nMore of it.")  # Ray raises no kind of its own

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(DualrecError, match=told):
        _enter(ClusterSettings(address=address))


def test_a_machine_that_was_too_busy_for_the_first_start_gets_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    starts: list[str] = []

    def start(address: str, **_: Any) -> None:
        starts.append(address)
        if len(starts) == 1:
            raise Exception(
                "The current node timed out during startup."
            )  # Ray raises no kind of its own

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv(KEPT, "2")
    monkeypatch.setattr(ray, "init", start)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr("dualrec.cluster.session.collect_worker_logs", nullcontext)
    _enter(ClusterSettings())
    assert starts == ["local", "local"]


@pytest.mark.parametrize(("given", "kept"), [(None, "6"), ("1", "1")])
def test_a_cluster_of_this_machine_keeps_idle_workers_unless_told(
    monkeypatch: pytest.MonkeyPatch, given: str | None, kept: str
) -> None:
    started: list[str] = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv(
        KEPT, given or ""
    )  # also where it is taken out again, so that what the session sets is undone
    if given is None:
        monkeypatch.delenv(KEPT)
    monkeypatch.setattr(ray, "init", lambda **_: started.append(os.environ[KEPT]))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr("dualrec.cluster.session.collect_worker_logs", nullcontext)
    _enter(ClusterSettings(cpus=3))
    assert started == [kept]


def _enter(settings: ClusterSettings) -> None:
    with ray_session(settings):
        pass
