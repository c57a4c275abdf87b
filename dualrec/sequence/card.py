"""The model card of a sequence model, from what its training was given and found."""

from typing import Any

from dualrec.cluster.tracking import ModelCard
from dualrec.config.settings import Settings
from dualrec.data.prepare import Prepared
from dualrec.sequence.artifact import METRICS, TENSORBOARD, WEIGHTS

_SHOWN = {
    "validation_loss": "validation loss (nats a movie)",
    "validation_accuracy": "validation accuracy: the next movie is the first guess",
    "validation_top5_accuracy": "validation top-5 accuracy",
}


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
