"""A fine-tuned language model in the workspace: its version, files, card and curves, and which
weights are served. Knows names and metrics; no model, no Ray.

models/language/VERSION/
    adapter/        the LoRA adapter of the best epoch, as PEFT writes it
    merged/         base model and adapter in one, with tokenizer and chat template: what vLLM and
                    transformers load
    metrics.json    every epoch, the best one, and what it took
    curves.png, tensorboard/
    README.md       the model card
"""

from pathlib import Path
from typing import Any

from dualrec.assets.nodes import ModelPlace
from dualrec.cluster.tracking import ModelCard
from dualrec.config.settings import Settings, version_of
from dualrec.data.prepare import Prepared
from dualrec.language.examples import FOLDS
from dualrec.language.models import ServedModel, check_tuned, language_model, model_fingerprint
from dualrec.language.prompts.texts import prompt_fingerprint
from dualrec.sequence.artifact import sequence_version
from dualrec.storage.workspace import Workspace

# of examples and fine-tuning; raised when they give other results for the same input
# (CONTRIBUTING.md)
METHOD = 1
ADAPTER, MERGED = "adapter", "merged"
METRICS, CURVES, TENSORBOARD = "metrics.json", "curves.png", "tensorboard"

_SHAPES_EXAMPLES = {
    "mode",
    "prompt",
    "history_length",
    "history_order",
    "hint",
    "titles",
    "max_prompt_tokens",
}
_CHANGES_NO_RESULT = {
    "resources",
    "zero_stage",
    "cpu_offload",
    "gradient_checkpointing",
    "accumulation",
}


def language_version(data: Prepared, settings: Settings) -> str:
    """The version of the language model that these histories, sequence model and settings make."""
    shapes = _SHAPES_EXAMPLES | ({"rank_candidates"} if settings.language.mode == "rank" else set())
    out_of_fold = [fold_version(data, settings)] if settings.finetune.examples == "cuts" else []
    return version_of(
        METHOD,
        sequence_version(data, settings),
        *out_of_fold,
        settings.finetune.model_dump(mode="json", exclude=_CHANGES_NO_RESULT),
        settings.language.model_dump(mode="json", include=shapes),
        model_fingerprint(settings),
        prompt_fingerprint(settings.language),
    )


def fold_settings(settings: Settings) -> Settings:
    """Return the settings of the sequence models that give out-of-fold hints: the first network of
    the ensemble alone.

    A hint is one movie, the first choice: an ensemble would take as many times longer to train as
        it has networks.
    """
    one_network = settings.sequence.model_copy(update={"members": settings.sequence.members[:1]})
    return settings.model_copy(update={"sequence": one_network})


def fold_version(data: Prepared, settings: Settings) -> str:
    """The version of the sequence models that give out-of-fold hints."""
    return version_of(
        sequence_version(data, fold_settings(settings)), settings.finetune.seed, FOLDS
    )


def tuned_name(data: Prepared, settings: Settings) -> str | None:
    """The artifact that `language.tuned` asks for, or None where the model is served as it
    comes."""
    tuned = settings.language.tuned
    if tuned is None:
        return None
    return language_name(data, settings) if tuned == "current" else f"models/language/{tuned}"


def language_name(data: Prepared, settings: Settings) -> str:
    """The artifact's name in the workspace."""
    return f"models/language/{language_version(data, settings)}"


def served_model(workspace: Workspace, data: Prepared, settings: Settings) -> ServedModel:
    """The model that the settings name.

    Raises:
        WorkspaceError: it has not been fine-tuned, though `language.tuned` asks for that.
        SettingsError: it is served at an endpoint, which knows nothing of our fine-tuning.
    """
    name = tuned_name(data, settings)
    if name is None:
        return ServedModel(*language_model(settings))
    check_tuned(settings)
    workspace.require(name, "finetune-language")
    preset, location = language_model(settings)
    assert location is not None, "an endpoint serves no model of ours"
    merged = f"{workspace.content(name)}/{MERGED}"
    source = workspace.path(merged) if workspace.is_local else f"{workspace.uri}/{merged}"
    return ServedModel(preset, ModelPlace.named(source, settings))


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
        f"{language.model}, fine-tuned by LoRA to answer a prompt of the movies that somebody "
        f"watched, and of what a "
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
            "As the second stage of dualrec, with the prompts that it was trained with: "
            "`language.tuned`.",
        ),
        (
            "It is no assistant: fine-tuned on one form of prompt, it may answer all else badly. "
            "The licence and the limits "
            "of its base model hold for it too.",
            "Free decoding may name movies that do not exist, or that were watched; dualrec drops "
            "those. A shortlist "
            "prevents both.",
            "The loss says how well it repeats the form and the training answers. Whether its "
            "lists are any good is "
            "measured by `dualrec evaluate`, beside baselines and a control with shuffled "
            "histories.",
            "Prompts hold titles that people watched: a model trained on them may repeat what "
            "somebody watched.",
        ),
        {
            ADAPTER: "the LoRA adapter of the best epoch, as PEFT writes it",
            MERGED: "base model and adapter in one, what vLLM and transformers load",
            METRICS: "every epoch, and what it took",
            f"{CURVES}, {TENSORBOARD}": "training curves",
        },
    ).text()


def draw_curves(history: dict[str, Any], path: Path) -> None:
    """Write a PNG: the loss of steps and epochs over the examples seen, and the learning rate
    below.

    Args:
        history: `epochs` and `steps`, as `train.py` reports them.
    """
    from matplotlib.figure import Figure

    epochs, steps = history["epochs"], history["steps"]
    total_steps, total_examples = steps[-1]["step"], sum(epoch["examples"] for epoch in epochs)
    seen = [step["step"] * total_examples / total_steps for step in steps]
    ends = [
        sum(epoch["examples"] for epoch in epochs[: number + 1]) for number in range(len(epochs))
    ]
    figure = Figure(figsize=(7, 5), layout="constrained")
    loss, rate = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    loss.plot(
        seen,
        [step["loss"] for step in steps],
        color="0.75",
        linewidth=0.8,
        label="training, single steps",
    )
    loss.plot(
        ends, [epoch["train_loss"] for epoch in epochs], "o-", label="training, mean of the epoch"
    )
    loss.plot(ends, [epoch["validation_loss"] for epoch in epochs], "s-", label="validation")
    loss.set_ylabel("loss (nats a token)")
    loss.legend()
    rate.plot(seen, [step["learning_rate"] for step in steps], color="0.4")
    rate.set_ylabel("learning rate")
    rate.set_xlabel("examples seen")
    figure.savefig(path, dpi=120)
