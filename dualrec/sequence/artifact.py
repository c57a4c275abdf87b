"""A trained sequence model in the workspace: its version, its model card and its summary. Trains nothing."""

import json
from typing import Any

from dualrec.cluster.model_card import ModelCard
from dualrec.cluster.summary import Summary
from dualrec.config.settings import Settings, version_of
from dualrec.data.prepare import Prepared
from dualrec.storage.workspace import Workspace

# of training and prediction; raised when they give other results for the same input
# (CONTRIBUTING.md)
METHOD = 2
WEIGHTS = "model.safetensors"
METRICS = "metrics.json"
TENSORBOARD = "tensorboard"
_SHOWN = {
    "validation_loss": "validation loss (nats a movie)",
    "validation_accuracy": "validation accuracy: the next movie is the first guess",
    "validation_top5_accuracy": "validation top-5 accuracy",
}


def sequence_version(data: Prepared, settings: Settings) -> str:
    """The version of the sequence model that these histories and settings make."""
    shapes = settings.sequence.model_dump(mode="json", exclude={"preset", "top_k", "resources"})
    return version_of(METHOD, data.version, shapes)


def sequence_name(data: Prepared, settings: Settings) -> str:
    """The artifact's name in the workspace."""
    return f"models/sequence/{sequence_version(data, settings)}"


def sequence_card(
    artifact: str, data: Prepared, settings: Settings, metrics: dict[str, Any]
) -> str:
    """The card, as Markdown.

    Args:
        metrics: as the artifact's metrics.json holds them.
    """
    best = metrics["best"]
    return ModelCard(
        artifact,
        f"{len(settings.sequence.members)} LSTM network(s) whose probabilities are averaged. From the movies that somebody "
        "watched, in order, it tells how likely each movie of the catalog is the next (DUALRec's first stage, Li and "
        "Grasman 2025).",
        {
            "data set": data.dataset,
            "version of the histories": data.version,
            "movies it knows": len(data.catalog),
            "learned from": "the training users' histories; validation users chose the epoch, test users were not seen",
        },
        {
            "best epoch": f"{best['epoch']} of {len(metrics['epochs'])}",
            **{shown: best[name] for name, shown in _SHOWN.items()},
        },
        settings.sequence.model_dump(mode="json"),
        (
            "To suggest what to watch next, from the movies of the catalog that it was trained with.",
        ),
        (
            "It knows no movie that was not in that catalog, and suggests those that were seldom watched rarely.",
            "It learned what is watched after what, popular movies above all; nothing about whether they are liked.",
            "Whatever the histories favour, it favours: of whom they are, when they are from, what a site suggested.",
            "The figures above are of guessing the next movie at each place of a history. Those under named protocols, with "
            "intervals and beside baselines, are in the reports of `dualrec evaluate`.",
        ),
        {
            WEIGHTS: "the best epoch's weights",
            METRICS: "every epoch",
            TENSORBOARD: "the same for TensorBoard",
        },
    ).text()


def sequence_summary(workspace: Workspace, name: str, state: str) -> Summary:
    """Return what `train-sequence` shows of a model that is there."""
    metrics = json.loads(workspace.read_bytes(f"{workspace.content(name)}/{METRICS}"))
    best, epochs = metrics["best"], metrics["epochs"]
    rates = [epoch["targets_per_second"] for epoch in epochs]
    lines: dict[str, object] = {
        "version": f"{name.rpartition('/')[2]} ({state})",
        "best epoch": f"{best['epoch']} of {len(epochs)}",
        "validation loss": f"{best['validation_loss']:.4f} nats",
        "validation accuracy": f"{best['validation_accuracy']:.2%}",
        "validation top-5 accuracy": f"{best['validation_top5_accuracy']:.2%}",
        "training time": f"{sum(epoch['seconds'] for epoch in epochs):.0f} s",
        "targets a second": f"{sum(rates) / len(rates):,.0f}",
        "waited for input": _waited(epochs),
    }
    return Summary("train-sequence", lines, {"model": f"{workspace.uri}/{workspace.content(name)}"})


def _waited(epochs: list[dict[str, float]]) -> str:
    """The share of the training time in which there was no batch."""
    seconds = sum(epoch["waited_for_input"] * epoch["seconds"] for epoch in epochs)
    return f"{seconds / sum(epoch['seconds'] for epoch in epochs):.1%} of it"
