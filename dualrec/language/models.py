"""The language models that go by a name: where they come from and how they are served. Knows no
prompt and no Ray."""

from dataclasses import dataclass, field

from dualrec.assets.digests import model_digest
from dualrec.assets.nodes import ModelPlace
from dualrec.config.settings import Settings
from dualrec.data.requests import Decoding
from dualrec.errors import SettingsError


@dataclass(frozen=True)
class LanguageModel:
    """What serving and fine-tuning a model take beside its weights.

    Attributes:
        stop: strings at which an answer ends, beside the model's own end token.
        chat_options: what the chat template is given, such as a switch for thinking.
        target_modules: the layers that fine-tuning adapts; by default the attention projections, as
            published.
        thinks: a reasoning model; the prompt closes its thinking off, so that it answers at once.
        weights_gib: memory that its weights take in bfloat16; 0.0 where it is not known.
        endpoint: the model's name at an OpenAI-compatible endpoint; None: its weights are served
            here.
    """

    stop: tuple[str, ...] = ("\n\n",)
    chat_options: dict[str, object] = field(default_factory=dict)
    target_modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    thinks: bool = False
    weights_gib: float = 0.0
    endpoint: str | None = None


PRESETS = {
    "smollm2-135m": LanguageModel(weights_gib=0.3),
    # Its answers may have empty lines between the titles, so an empty line does not end them.
    "deepseek-r1-distill-qwen-1.5b": LanguageModel(stop=(), thinks=True, weights_gib=3.3),
    "mistral-7b-instruct-v0.3": LanguageModel(weights_gib=13.5),
    "ministral-8b-instruct-2410": LanguageModel(weights_gib=14.9),
    "deepseek-v3": LanguageModel(endpoint="deepseek/deepseek-chat"),  # its name at OpenRouter
}


@dataclass(frozen=True)
class ServedModel:
    """A model as it is served.

    Attributes:
        location: weights and tokenizer; None behind an endpoint.
        dtype: of the weights while they write, as vLLM names it.
    """

    preset: LanguageModel
    location: ModelPlace | None
    dtype: str = "auto"


def language_model(settings: Settings) -> tuple[LanguageModel, ModelPlace | None]:
    """The preset of the settings' model and its location, None behind an endpoint. Any other
    model's folder is served as it is."""
    name = settings.language.model
    preset = PRESETS.get(name, LanguageModel())
    return preset, None if preset.endpoint else ModelPlace.named(name, settings)


def check_room_on_cpus(name: str, node_gib: float) -> None:
    """Find out before a model is loaded, for minutes or until a node dies, that its weights cannot
    fit.

    Args:
        node_gib: memory of the largest node.

    Raises:
        SettingsError: its weights alone take more.
    """
    weights_gib = PRESETS.get(name, LanguageModel()).weights_gib
    if weights_gib > node_gib:
        raise SettingsError(
            f"the weights of {name} take {weights_gib:.1f} GiB, and no node has more than "
            f"{node_gib:.1f} GiB of "
            "memory: serve it on GPUs (language.engine.use_gpu=true), fine-tune it on GPUs "
            "(finetune.resources.use_gpu=true), or name a smaller model in language.model"
        )


def check_decoding(settings: Settings) -> None:
    """Raise a SettingsError where the model's answers cannot be held to what they should be."""
    if settings.language.decoding not in decodings_of(settings.language.model):
        raise SettingsError(
            f"{settings.language.model} is served at an endpoint: set language.decoding=free"
        )


def check_tuned(settings: Settings) -> None:
    """Raise a SettingsError where a model at an endpoint, which knows nothing of our fine-tuning,
    should be fine-tuned."""
    if (
        settings.language.tuned is not None
        and PRESETS.get(settings.language.model, LanguageModel()).endpoint
    ):
        raise SettingsError(
            f"{settings.language.model} is served at an endpoint as it is: set language.tuned=null"
        )


def check_ranking(settings: Settings) -> None:
    """Refuse to rank items where there are no likelihoods of labels, or fewer items than are to be
    ranked.

    Raises:
        SettingsError: as it says.
    """
    language, top_k = settings.language, settings.sequence.top_k
    if language.mode != "rank":
        return
    if PRESETS.get(language.model, LanguageModel()).endpoint:
        raise SettingsError(
            f"{language.model} is served at an endpoint, which does not tell how likely each label "
            f"is: set "
            "language.mode=generate, or name a model whose weights can be had"
        )
    if top_k < language.rank_candidates:
        raise SettingsError(
            f"language.rank_candidates ({language.rank_candidates}) exceeds sequence.top_k "
            f"({top_k}), the items that "
            "the sequence model hands on: lower the one or raise the other"
        )


def decodings_of(name: str) -> tuple[Decoding, ...]:
    """What a model's answers can be held to: an endpoint knows no grammar of ours, so it writes
    freely."""
    return ("free",) if PRESETS.get(name, LanguageModel()).endpoint else ("free", "shortlist")


def model_fingerprint(settings: Settings) -> list[object]:
    """Return the digest of the settings' model and what its preset gives it; of a model at an
    endpoint, its name there."""
    preset, location = language_model(settings)
    content = f"endpoint {preset.endpoint}" if location is None else model_digest(location)
    return [content, preset.stop, preset.chat_options, preset.thinks, preset.target_modules]


_FAST = (
    "avx512_bf16",
    "amx_bf16",
    "bf16",
)  # x86 and Arm; without them bfloat16 is six times as slow as float32


def precision_of(wanted: str, use_gpu: bool) -> str:
    """What "auto" means on this machine: bfloat16 where its GPU or processor computes in it, else
    float32."""
    if wanted != "auto":
        return wanted
    import torch

    if use_gpu:
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        can = torch.cpu.get_capabilities()
        fast = any(can.get(name, False) for name in _FAST)
    return "bfloat16" if fast else "float32"
