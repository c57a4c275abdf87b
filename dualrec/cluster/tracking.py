"""Records of a trained model: curves for TensorBoard, a run on an MLflow server where one is set,
and the model card in its folder.

They are written from the metrics of a finished model, so a server that is away costs a warning,
not a model.
"""

import importlib.util
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualrec import __version__
from dualrec.config.settings import TrackingSettings
from dualrec.errors import SettingsError

METRICS_PER_REQUEST, PARAMETERS_PER_REQUEST = 1000, 100  # MLflow takes no more at a time
LONGEST_PARAMETER = 6000  # characters
CARD = "README.md"  # the model card, in a model's folder

logger = logging.getLogger(__name__)


def check_tracking(settings: TrackingSettings) -> None:
    """Check before a training what would fail after it.

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
            are any, those of single steps under `steps`, numbered by their "step".
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
        Param(name, str(value)[:LONGEST_PARAMETER]) for name, value in flatten(parameters).items()
    ]
    try:
        client = MlflowClient(settings.mlflow_uri)
        known = client.get_experiment_by_name(settings.experiment)
        experiment = known.experiment_id if known else client.create_experiment(settings.experiment)
        run = client.create_run(experiment, run_name=artifact).info.run_id
        for start in range(0, len(leaves), PARAMETERS_PER_REQUEST):
            client.log_batch(run, params=leaves[start : start + PARAMETERS_PER_REQUEST])
        for start in range(0, len(metrics), METRICS_PER_REQUEST):
            client.log_batch(run, metrics=metrics[start : start + METRICS_PER_REQUEST])
        client.set_terminated(run)
    except (MlflowException, OSError) as error:
        logger.warning(f"{artifact} is written, but not shown at {settings.mlflow_uri}: {error}")


def curves(history: Mapping[str, list[dict[str, float]]]) -> Iterator[tuple[str, float, int]]:
    """Yield each value of a training as name, value and number: epoch/NAME or step/NAME."""
    for kind in ("step", "epoch"):
        for metrics in history.get(f"{kind}s", []):
            for name, value in metrics.items():
                if name != kind:
                    yield f"{kind}/{name}", float(value), int(metrics[kind])


def flatten(tree: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return the leaves of a tree of settings by their dotted names."""
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        leaves |= (
            flatten(value, f"{before}{name}.")
            if isinstance(value, Mapping)
            else {f"{before}{name}": value}
        )
    return leaves


@dataclass(frozen=True)
class ModelCard:
    """A model card: what a model was trained on, how well it does, what it is for and not for.

    Attributes:
        artifact: the model's name in the workspace.
        about: one paragraph.
        data, metrics: name to value.
        settings: a tree; each leaf is shown by its dotted name.
        use, limits: a sentence each.
        files: name to what it is.
    """

    artifact: str
    about: str
    data: Mapping[str, Any]
    metrics: Mapping[str, Any]
    settings: Mapping[str, Any]
    use: tuple[str, ...]
    limits: tuple[str, ...]
    files: Mapping[str, str]

    def text(self) -> str:
        """Return the card as Markdown."""
        parts = [
            f"# {self.artifact}\n\n{self.about}\n\nMade by dualrec {__version__}.",
            f"## Data\n\n{_table(self.data)}",
            f"## How well it does\n\n{_table(self.metrics)}",
            f"## Intended use\n\n{_list(self.use)}",
            f"## Limits\n\n{_list(self.limits)}",
            f"## Files\n\n{_table(self.files)}",
            f"## Settings\n\n{_table(flatten(self.settings))}",
        ]
        return "\n\n".join(parts) + "\n"


def _table(rows: Mapping[str, Any]) -> str:
    return "\n".join(
        [
            "| | |",
            "| --- | --- |",
            *(f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items()),
        ]
    )


def _list(sentences: tuple[str, ...]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _cell(value: Any) -> str:
    shown = f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(shown.replace("|", r"\|").split())
