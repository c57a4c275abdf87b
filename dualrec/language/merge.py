"""Base model and adapter in one, as a folder that vLLM and transformers load. Knows folders; not
the workspace."""

import shutil
from pathlib import Path

from dualrec.assets.trust import NO_CODE, NO_CODE_NO_PICKLE, loading

LARGEST_SHARD = "4GB"  # of weights: no file is larger than stores and copies handle well
_TOKENIZER = (
    "tokenizer.json", "tokenizer.model", "tokenizer.model.v3", "tekken.json", "tokenizer_config.json", "vocab.json",
    "merges.txt", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "chat_template.json",
    "generation_config.json",
)  # fmt: skip


def merge(base: Path, adapter: Path, target: Path) -> None:
    """Add an adapter to its base model and write the whole to `target`, in safetensors.

    The sum is made in float32 and kept in the base model's own type. The tokenizer and its chat
    template are copied as they are, so that prompts stay the same to the token.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoConfig, AutoModelForCausalLM

    with loading(base):
        kept = getattr(AutoConfig.from_pretrained(base, **NO_CODE), "dtype", None) or torch.float32
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, **NO_CODE_NO_PICKLE)
    merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload(safe_merge=True)
    merged.to(kept).save_pretrained(target, max_shard_size=LARGEST_SHARD)
    for name in _TOKENIZER:
        if (base / name).is_file():
            shutil.copyfile(base / name, target / name)
