"""The artifact of a trained sequence model: its name, version, model card and summary.

Comes in: prepared histories, settings and metrics. Trains nothing; knows no networks or Ray.
"""

import json
from typing import Any

from dualrec.cluster.summary import Summary
from dualrec.cluster.tracking import ModelCard
from dualrec.config.settings import Settings, version_of
from dualrec.data.prepare import Prepared
from dualrec.storage.workspace import Workspace

# of training and prediction; raised when they give other results for the same input
# (CONTRIBUTING.md)
METHOD = 2
WEIGHTS = "model.safetensors"
METRICS = "metrics.json"
TENSORBOARD = "tensorboard"

_CARD_METRICS = {
    "validation_loss": "validation loss (nats a movie)",
    "validation_accuracy": "validation accuracy: the next movie is ranked first",
    "validation_top5_accuracy": "validation top-5 accuracy",
}


def sequence_version(data: Prepared, settings: Settings) -> str:
    """Return the version of the sequence model of these histories and settings."""
    relevant = settings.sequence.model_dump(mode="json", exclude={"preset", "top_k", "resources"})
    return version_of(METHOD, data.version, relevant)


def sequence_name(data: Prepared, settings: Settings) -> str:
    """Return the artifact's name in the workspace."""
    return f"models/sequence/{sequence_version(data, settings)}"


def sequence_card(
    artifact: str, data: Prepared, settings: Settings, metrics: dict[str, Any]
) -> str:
    """Return the model card as Markdown.

    Args:
        metrics: as the artifact's metrics.json holds them.
    """
    best = metrics["best"]
    return ModelCard(
        artifact,
        f"{len(settings.sequence.members)} LSTM network(s) whose probabilities are averaged. From "
        "the movies that somebody watched, in order, it predicts how likely each movie of the "
        "catalog is the next (DUALRec's first stage, Li and Grasman 2025).",
        {
            "data set": data.dataset,
            "version of the histories": data.version,
            "movies in its catalog": len(data.catalog),
            "learned from": "the training users' histories; validation users chose the epoch, "
            "test users were not seen",
        },
        {
            "best epoch": f"{best['epoch']} of {len(metrics['epochs'])}",
            **{shown: best[name] for name, shown in _CARD_METRICS.items()},
        },
        settings.sequence.model_dump(mode="json"),
        ("To suggest what to watch next, of the movies in the catalog that it was trained with.",),
        (
            "It knows no movie that was not in that catalog, and suggests those that were seldom "
            "watched rarely.",
            "It learned what is watched after what, popular movies above all; nothing about "
            "whether they are liked.",
            "Whatever the histories favour, it favours: of whom they are, when they are from, what "
            "a site suggested.",
            "The figures above are of predicting the next movie at each position of a history. "
            "Those under named protocols, with intervals and beside baselines, are in the reports "
            "of `dualrec evaluate`.",
        ),
        {
            WEIGHTS: "the best epoch's weights",
            METRICS: "every epoch",
            TENSORBOARD: "the same for TensorBoard",
        },
    ).text()


def sequence_summary(workspace: Workspace, name: str, state: str) -> Summary:
    """Summarize a trained model's metrics for the job's output.

    Args:
        state: whether the artifact was just written or already there.
    """
    metrics = json.loads(workspace.read_bytes(f"{workspace.content(name)}/{METRICS}"))
    best, epochs = metrics["best"], metrics["epochs"]
    rate = sum(epoch["targets_per_second"] for epoch in epochs) / len(epochs)
    lines: dict[str, object] = {
        "version": f"{name.rpartition('/')[2]} ({state})",
        "best epoch": f"{best['epoch']} of {len(epochs)}",
        "validation loss": f"{best['validation_loss']:.4f} nats",
        "validation accuracy": f"{best['validation_accuracy']:.2%}",
        "validation top-5 accuracy": f"{best['validation_top5_accuracy']:.2%}",
        "training time": f"{sum(epoch['seconds'] for epoch in epochs):.0f} s",
        "targets a second": f"{rate:,.0f}",
        "time without a batch": _data_wait(epochs),
    }
    return Summary("train-sequence", lines, {"model": f"{workspace.uri}/{workspace.content(name)}"})


def _data_wait(epochs: list[dict[str, float]]) -> str:
    """Format the share of the training time in which no batch was ready."""
    seconds = sum(epoch["data_wait_share"] * epoch["seconds"] for epoch in epochs)
    return f"{seconds / sum(epoch['seconds'] for epoch in epochs):.1%}"
