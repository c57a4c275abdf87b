"""Training runs as TensorBoard and MLflow show them. MLflow itself is not needed: a stand-in keeps
what it is told."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dualrec.cluster.tracking import (
    METRICS_PER_REQUEST,
    PARAMETERS_PER_REQUEST,
    check_tracking,
    flatten,
    track,
    write_tensorboard,
)
from dualrec.config.settings import TrackingSettings, load_settings
from dualrec.errors import SettingsError

HISTORY = {
    "epochs": [
        {"epoch": 1, "loss": 2.0, "seconds": 3.0},
        {"epoch": 2, "loss": 1.5, "seconds": 3.0},
    ],
    "steps": [{"step": step, "loss": 1 / step} for step in range(1, METRICS_PER_REQUEST + 1)],
    "best": {"epoch": 2},
}
SERVER = TrackingSettings(mlflow_uri="https://mlflow.example")


class AwayError(Exception):
    """What MLflow raises where a server does not answer."""


class Server:
    """An MLflow server's memory, behind the client's calls that dualrec makes."""

    def __init__(self, away: bool = False) -> None:
        self.away = away
        self.experiments: list[str] = []
        self.requests: list[dict[str, list[Any]]] = []
        self.runs: dict[str, str] = {}

    def get_experiment_by_name(self, name: str) -> SimpleNamespace | None:
        if self.away:
            raise AwayError("no answer")
        return SimpleNamespace(experiment_id=name) if name in self.experiments else None

    def create_experiment(self, name: str) -> str:
        self.experiments.append(name)
        return name

    def create_run(self, experiment: str, run_name: str) -> SimpleNamespace:
        self.runs[run_name] = "RUNNING"
        return SimpleNamespace(info=SimpleNamespace(run_id=run_name))

    def log_batch(self, run: str, **given: list[Any]) -> None:
        self.requests.append(given)

    def set_terminated(self, run: str) -> None:
        self.runs[run] = "FINISHED"

    def all(self, kind: str) -> list[Any]:
        return [one for request in self.requests for one in request.get(kind, [])]


def installed(monkeypatch: pytest.MonkeyPatch, server: Server) -> Server:
    """Put the stand-in where `mlflow` is imported from."""
    mlflow, entities, exceptions = (
        ModuleType(name) for name in ("mlflow", "mlflow.entities", "mlflow.exceptions")
    )
    mlflow.__dict__.update(MlflowClient=lambda uri: server)
    entities.__dict__.update(Metric=lambda *values: values, Param=lambda *values: values)
    exceptions.__dict__.update(MlflowException=AwayError)
    for module in (mlflow, entities, exceptions):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return server


def test_a_run_holds_every_setting_and_the_whole_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    server = installed(monkeypatch, Server())
    settings = {
        "sequence": {"epochs": 2, "resources": {"workers": 1}},
        **{f"s{n}": n for n in range(PARAMETERS_PER_REQUEST)},
    }
    for version in ("a", "b"):
        track(SERVER, f"models/sequence/{version}", settings, HISTORY)
    assert server.experiments == ["dualrec"]
    assert server.runs == {"models/sequence/a": "FINISHED", "models/sequence/b": "FINISHED"}
    assert all(
        len(request.get("metrics", [])) <= METRICS_PER_REQUEST for request in server.requests
    )
    assert all(
        len(request.get("params", [])) <= PARAMETERS_PER_REQUEST for request in server.requests
    )
    parameters = dict(server.all("params"))
    assert (
        parameters["sequence.resources.workers"] == "1"
        and len(parameters) == PARAMETERS_PER_REQUEST + 2
    )
    told = {(name, number): value for name, value, _, number in server.all("metrics")}
    assert told["epoch/loss", 2] == 1.5 and told["step/loss", 4] == 0.25
    assert len(told) == METRICS_PER_REQUEST + 2 * 2


def test_without_a_server_nothing_is_imported_or_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)  # an import of it fails
    check_tracking(TrackingSettings())
    track(TrackingSettings(), "models/sequence/a", {}, HISTORY)


def test_a_server_that_is_away_costs_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    installed(monkeypatch, Server(away=True))
    track(SERVER, "models/sequence/a", {}, HISTORY)
    assert (
        "models/sequence/a is written, but not shown at https://mlflow.example: no answer"
        in caplog.text
    )


def test_a_server_without_the_package_is_told_before_the_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match="requirements/mlflow.txt"):
        check_tracking(SERVER)


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(
        SettingsError, match=r"tracking\.mlflow_uri.*MLFLOW_TRACKING_PASSWORD"
    ) as refused:
        load_settings(None, ["tracking.mlflow_uri=https://me:secret@mlflow.example"])
    assert "secret" not in str(refused.value)


def test_tensorboard_reads_the_same_curve(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    write_tensorboard({"epochs": HISTORY["epochs"]}, tmp_path)
    read = EventAccumulator(str(tmp_path))
    read.Reload()
    assert sorted(read.Tags()["tensors"]) == ["epoch/loss", "epoch/seconds"]
    assert [
        (one.step, float(make_ndarray(one.tensor_proto))) for one in read.Tensors("epoch/loss")
    ] == [
        (1, 2.0),
        (2, 1.5),
    ]


def test_a_tree_of_settings_is_flat_by_dotted_names() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": None}}, "e": [1]}) == {
        "a.b": 1,
        "a.c.d": None,
        "e": [1],
    }


def test_mlflow_itself_keeps_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="requirements/mlflow.txt is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = tmp_path.as_uri()
    track(
        TrackingSettings(mlflow_uri=uri), "models/sequence/a", {"sequence": {"epochs": 2}}, HISTORY
    )
    client = mlflow.MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("dualrec").experiment_id])
    assert run.info.run_name == "models/sequence/a" and run.info.status == "FINISHED"
    assert run.data.params == {"sequence.epochs": "2"} and run.data.metrics["epoch/loss"] == 1.5
    assert [one.value for one in client.get_metric_history(run.info.run_id, "epoch/loss")] == [
        2.0,
        1.5,
    ]
