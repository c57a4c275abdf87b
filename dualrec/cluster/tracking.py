"""A finished training run as other tools show it: files for TensorBoard, and a run on an MLflow
server where one is set.

It is told from the metrics of a model that is already written, so a server that is away costs a
warning, not a model.
"""

import importlib.util
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from dualrec.config.settings import TrackingSettings
from dualrec.errors import SettingsError

METRICS_A_REQUEST, PARAMETERS_A_REQUEST = 1000, 100  # MLflow takes no more at a time
LONGEST_PARAMETER = 6000  # characters

logger = logging.getLogger(__name__)


def check_tracking(settings: TrackingSettings) -> None:
    """Find out before a training what would fail after it.

    Raises:
        SettingsError: a server is set, and MLflow is not installed.
    """
    if settings.mlflow_uri and importlib.util.find_spec("mlflow") is None:
        raise SettingsError(
            f"tracking.mlflow_uri is {settings.mlflow_uri}, but MLflow is not installed: "
            "pip install --no-deps -r requirements/mlflow.txt, or set tracking.mlflow_uri=null"
        )


def write_tensorboard(history: Mapping[str, list[dict[str, float]]], folder: Path) -> None:
    """Write training curves for TensorBoard.

    Args:
        history: the metrics of every epoch under `epochs`, numbered by their "epoch"; where there
            are any, those of single
            steps under `steps`, numbered by their "step".
    """
    from tensorboard.summary import Writer

    with closing(Writer(str(folder))) as writer:
        for name, value, number in curves(history):
            writer.add_scalar(name, value, number)


def track(
    settings: TrackingSettings, artifact: str, parameters: dict[str, Any], history: dict[str, Any]
) -> None:
    """Add a run to the MLflow server, if one is set: settings as parameters, curves as metrics.

    Args:
        artifact: the model's name in the workspace; names the run.
        parameters: a tree of settings; each leaf becomes a parameter of a dotted name.
        history: as `write_tensorboard` takes it.
    """
    if settings.mlflow_uri is None:
        return
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param
    from mlflow.exceptions import MlflowException

    now = int(time.time() * 1000)
    metrics = [Metric(name, value, now, number) for name, value, number in curves(history)]
    leaves = [
        Param(name, str(value)[:LONGEST_PARAMETER]) for name, value in flat(parameters).items()
    ]
    try:
        client = MlflowClient(settings.mlflow_uri)
        known = client.get_experiment_by_name(settings.experiment)
        experiment = known.experiment_id if known else client.create_experiment(settings.experiment)
        run = client.create_run(experiment, run_name=artifact).info.run_id
        for start in range(0, len(leaves), PARAMETERS_A_REQUEST):
            client.log_batch(run, params=leaves[start : start + PARAMETERS_A_REQUEST])
        for start in range(0, len(metrics), METRICS_A_REQUEST):
            client.log_batch(run, metrics=metrics[start : start + METRICS_A_REQUEST])
        client.set_terminated(run)
    except (MlflowException, OSError) as error:
        logger.warning(f"{artifact} is written, but not shown at {settings.mlflow_uri}: {error}")


def curves(history: Mapping[str, list[dict[str, float]]]) -> Iterator[tuple[str, float, int]]:
    """Each value of a training as name, value and number: epoch/NAME by epochs, step/NAME by steps."""
    for kind in ("step", "epoch"):
        for metrics in history.get(f"{kind}s", []):
            for name, value in metrics.items():
                if name != kind:
                    yield f"{kind}/{name}", float(value), int(metrics[kind])


def flat(tree: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """The leaves of a tree of settings by their dotted names."""
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        leaves |= (
            flat(value, f"{before}{name}.")
            if isinstance(value, Mapping)
            else {f"{before}{name}": value}
        )
    return leaves
