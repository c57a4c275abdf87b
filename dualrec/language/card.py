"""The model card of a fine-tuned language model, from what its training was given and found."""

from typing import Any

from dualrec.cluster.tracking import ModelCard
from dualrec.config.settings import Settings
from dualrec.data.prepare import Prepared
from dualrec.language.artifact import ADAPTER, CURVES, MERGED, METRICS, TENSORBOARD


def language_card(
    artifact: str, data: Prepared, settings: Settings, metrics: dict[str, Any]
) -> str:
    """The card, as Markdown.

    Args:
        metrics: as the artifact's metrics.json holds them.
    """
    best, budget, language = metrics["best"], metrics["budget"], settings.language
    task = (
        "the letter of one of the movies that it is shown"
        if language.mode == "rank"
        else "titles of movies"
    )
    return ModelCard(
        artifact,
        f"{language.model}, fine-tuned by LoRA to answer a prompt of the movies that somebody watched, and of what a "
        f"sequence model expects next, with {task} (DUALRec's second stage, Li and Grasman 2025).",
        {
            "base model": language.model,
            "data set": data.dataset,
            "version of the histories": data.version,
            "examples of training users": budget["training_examples"],
            "examples of validation users, which chose the epoch": budget["validation_examples"],
            "tokens seen": int(budget["tokens"]),
        },
        {
            "best epoch": f"{best['epoch']:.0f} of {len(metrics['epochs'])}",
            "training loss (nats a token)": best["train_loss"],
            "validation loss (nats a token)": best["validation_loss"],
            "computed in": metrics["dtype"],
        },
        {
            "finetune": settings.finetune.model_dump(mode="json"),
            "language": language.model_dump(mode="json", exclude={"endpoint", "engine"}),
        },
        (
            "As the second stage of dualrec, with the prompts that it was trained with: `language.tuned`.",
        ),
        (
            "It is no assistant: fine-tuned on one form of prompt, it may answer all else badly. The licence and the limits "
            "of its base model hold for it too.",
            "Free decoding may name movies that do not exist, or that were watched; dualrec drops those. A shortlist "
            "prevents both.",
            "The loss says how well it repeats the form and the training answers. Whether its lists are any good is "
            "measured by `dualrec evaluate`, beside baselines and a control with shuffled histories.",
            "Prompts hold titles that people watched: a model trained on them may repeat what somebody watched.",
        ),
        {
            ADAPTER: "the LoRA adapter of the best epoch, as PEFT writes it",
            MERGED: "base model and adapter in one, what vLLM and transformers load",
            METRICS: "every epoch, and what it took",
            f"{CURVES}, {TENSORBOARD}": "training curves",
        },
    ).text()
