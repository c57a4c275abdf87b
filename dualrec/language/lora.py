"""The language model with a LoRA adapter, the loss that trains it, and both merged into one folder
that vLLM and transformers load. Knows tensors and folders; not users, Ray or the workspace.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from dualrec.assets.trust import NO_CODE, NO_CODE_NO_PICKLE, loading
from dualrec.config.settings import FinetuneSettings
from dualrec.errors import SettingsError
from dualrec.language.batches import IGNORED

ADAPTER_WEIGHTS = "adapter_model.safetensors"  # as PEFT names it


def adapted_model(folder: str, targets: tuple[str, ...], settings: FinetuneSettings) -> PeftModel:
    """Load the model of a folder, freeze it, and add an adapter that changes nothing yet.

    Raises:
        SettingsError: a target names no layer of the model.
        AssetError: the model needs code that comes with it.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"  # everything is in the folder; never ask a hub about it
    disable_progress_bar()
    with loading(folder):
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, settings.dtype), **NO_CODE_NO_PICKLE
        )
    check_targets(model, targets, folder)
    model.config.use_cache = False
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return get_peft_model(
        model,
        LoraConfig(
            r=settings.lora_rank,
            lora_alpha=settings.lora_alpha,
            lora_dropout=settings.lora_dropout,
            target_modules=list(targets),
            task_type="CAUSAL_LM",
        ),
        autocast_adapter_dtype=False,
    )


def check_model(folder: str, targets: tuple[str, ...]) -> None:
    """Check the targets against a model's layout, without its weights.

    Raises:
        SettingsError: a target names no layer of the model.
        AssetError: the model needs code that comes with it.
    """
    with torch.device("meta"), loading(folder):
        config = AutoConfig.from_pretrained(folder, **NO_CODE)
        check_targets(
            AutoModelForCausalLM.from_config(config, trust_remote_code=False), targets, folder
        )


def check_targets(model: nn.Module, targets: tuple[str, ...], folder: str) -> None:
    """Raise a SettingsError that names the targets which match no linear layer, and the layers that
    there are."""
    layers = sorted(
        {
            name.rpartition(".")[2]
            for name, part in model.named_modules()
            if isinstance(part, nn.Linear)
        }
    )
    missing = [target for target in targets if target not in layers]
    if missing or not targets:
        raise SettingsError(
            f"{folder}: the target modules {missing or '()'} match no layer; its layers are "
            f"{', '.join(layers)}. "
            "Correct finetune.target_modules (of the model's preset in dualrec/language/models.py, "
            "where it is null), or "
            "language.model"
        )


class SummedTokenLoss(nn.Module):
    """A causal language model that gives the summed cross-entropy over the labels of a batch.

    Two savings change the result by rounding only. The output layer computes its logits only where
    there is a label: with a vocabulary of 50,000 it is much of a small model's arithmetic, and an
    answer is a sixth of an example. And what all rows begin with, the instruction, goes through the
    model once for all of them.

    Args:
        shares_prefix: whether to do the second. Not under ZeRO stage 3, which expects each layer
            once a pass, and not
            with gradient checkpointing, which keeps no cache.
    """

    def __init__(self, model: PeftModel, shares_prefix: bool = False) -> None:
        super().__init__()
        self.model = model
        self.shares_prefix = shares_prefix
        self._wanted: Tensor | None = None
        model.get_base_model().get_output_embeddings().register_forward_pre_hook(self._select)

    def forward(self, input_ids: Tensor, labels: Tensor) -> Tensor:
        """The sum of the negative log-likelihoods, float32.

        Rows are padded at the end, where a causal model sees no padding from a real position:
        no mask is needed.

        Args:
            input_ids, labels: int64 (rows, longest), as `batches.Batch` has them.
        """
        labelled = labels != IGNORED
        if not bool(labelled.any()):  # a filler: its gradient is zero, yet it takes part
            labelled[0, 0] = True
            return 0.0 * self._losses(input_ids, labelled, torch.zeros_like(input_ids))
        return self._losses(input_ids, labelled, labels)

    def _losses(self, input_ids: Tensor, labelled: Tensor, labels: Tensor) -> Tensor:
        prefix = (
            shared_prefix(input_ids, labelled) if self.shares_prefix and len(input_ids) > 1 else 0
        )
        cache = None
        if prefix:
            self._wanted = torch.zeros_like(labelled[:1, :prefix])
            cache = self.model(input_ids=input_ids[:1, :prefix], use_cache=True).past_key_values
            cache.batch_repeat_interleave(len(input_ids))
        self._wanted = labelled[:, prefix:]
        rest = self.model(
            input_ids=input_ids[:, prefix:], past_key_values=cache, use_cache=cache is not None
        )
        return functional.cross_entropy(rest.logits.float(), labels[labelled], reduction="sum")

    def _select(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        assert self._wanted is not None, "the output layer ran outside of forward"
        return (inputs[0][self._wanted],)


def shared_prefix(input_ids: Tensor, labelled: Tensor) -> int:
    """Count the positions at the start that hold the same token in every row, and no label."""
    same = (input_ids == input_ids[:1]).all(0) & ~labelled.any(0)
    return int(same.long().cumprod(0).sum())


def save_adapter(model: PeftModel, weights: dict[str, Tensor], folder: Path) -> None:
    """Write an adapter as PEFT does.

    Args:
        weights: the trained tensors, whole, by their names in `model`.

    Raises:
        AssertionError: a tensor is empty or not finite, or the adapter is as it was before
            training.
    """
    state = get_peft_model_state_dict(model, state_dict=weights, save_embedding_layers=False)
    check_adapter(state)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: tensor.contiguous() for name, tensor in state.items()}, folder / ADAPTER_WEIGHTS
    )
    config = model.peft_config["default"]
    inference, config.inference_mode = config.inference_mode, True
    config.save_pretrained(str(folder))
    config.inference_mode = inference


def check_adapter(state: dict[str, Any]) -> None:
    """Assert that an adapter holds something: stage 3 has been seen to save empty ones without an
    error."""
    assert state, "the adapter holds no tensor"
    for name, tensor in state.items():
        assert tensor.numel() > 0, f"{name} is empty"
        assert bool(torch.isfinite(tensor).all()), (
            f"{name} is not finite: lower finetune.learning_rate"
        )
    changed = [bool(tensor.any()) for name, tensor in state.items() if "lora_B" in name]
    assert changed and all(changed), "B of the adapter is zero: nothing was learned"


LARGEST_SHARD = "4GB"  # of weights: no file is larger than stores and copies handle well
_TOKENIZER = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer.model.v3",
    "tekken.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
)


def merge(base: Path, adapter: Path, target: Path) -> None:
    """Add an adapter to its base model and write the whole to `target`, in safetensors.

    The sum is made in float32 and kept in the base model's own type. The tokenizer and its chat
    template are copied as they are, so that prompts stay the same to the token.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoConfig, AutoModelForCausalLM

    with loading(base):
        stored_dtype = (
            getattr(AutoConfig.from_pretrained(base, **NO_CODE), "dtype", None) or torch.float32
        )
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, **NO_CODE_NO_PICKLE)
    merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload(safe_merge=True)
    merged.to(stored_dtype).save_pretrained(target, max_shard_size=LARGEST_SHARD)
    for name in _TOKENIZER:
        if (base / name).is_file():
            shutil.copyfile(base / name, target / name)
