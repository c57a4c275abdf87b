"""The language models that go by a name: where they come from and how they are served. Knows no prompt and no Ray."""

from dataclasses import dataclass, field
from pathlib import Path

from dualrec.assets.fetch import resolve_model


@dataclass(frozen=True)
class LanguageModel:
    """What serving and fine-tuning a model take beside its weights.

    Attributes:
        stop: strings at which an answer ends, beside the model's own end token.
        chat_options: what the chat template is given, such as a switch for thinking.
        target_modules: the layers that fine-tuning adapts; by default the attention projections, as published.
    """

    stop: tuple[str, ...] = ("\n\n",)
    chat_options: dict[str, object] = field(default_factory=dict)
    target_modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")


PRESETS = {
    "smollm2-135m": LanguageModel(),
    "deepseek-r1-distill-qwen-1.5b": LanguageModel(stop=()),
    "mistral-7b-instruct-v0.3": LanguageModel(),
    "ministral-8b-instruct-2410": LanguageModel(),
}


def language_model(name: str, cache: str) -> tuple[LanguageModel, Path]:
    """The preset of a model and its folder. A folder or an s3:// URI of any other model is served as it is.

    Raises:
        AssetError: no such model, or it cannot be had.
    """
    return PRESETS.get(name, LanguageModel()), resolve_model(name, cache)
