"""Where a fine-tuned language model lies, and under which version. Knows names only.

models/language/VERSION/
    adapter/        the LoRA adapter of the best epoch, as PEFT writes it
    merged/         base model and adapter in one, with tokenizer and chat template: what vLLM and
    transformers load metrics.json    every epoch, the best one, and what it took
    curves.png, tensorboard/
    README.md       the model card
"""

from dualrec.config.settings import Settings, version_of
from dualrec.data.prepare import Prepared
from dualrec.language.examples import FOLDS
from dualrec.language.fingerprints import model_parts, prompt_parts
from dualrec.sequence.artifact import sequence_version

# of examples and fine-tuning; raised when they give other results for the same input
# (CONTRIBUTING.md)
METHOD = 1
ADAPTER, MERGED = "adapter", "merged"
METRICS, CURVES, TENSORBOARD = "metrics.json", "curves.png", "tensorboard"

_SHAPES_EXAMPLES = {
    "mode", "prompt", "history_length", "history_order", "hint", "titles", "max_prompt_tokens",
}  # fmt: skip
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
        model_parts(settings),
        prompt_parts(settings.language),
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
    """The artifact that `language.tuned` asks for, or None where the model is served as it comes."""
    tuned = settings.language.tuned
    if tuned is None:
        return None
    return language_name(data, settings) if tuned == "current" else f"models/language/{tuned}"


def language_name(data: Prepared, settings: Settings) -> str:
    """The artifact's name in the workspace."""
    return f"models/language/{language_version(data, settings)}"
