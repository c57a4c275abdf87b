"""Merged models of several files."""

from pathlib import Path

import pytest

from dualrec.assets.digests import content_digest
from dualrec.config.settings import load_settings
from dualrec.language import lora as module
from dualrec.language.lora import adapted_model, save_adapter
from tests.language.tiny_models import write_model


def test_a_model_of_several_shards_is_loaded_and_digested_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    base = write_model(tmp_path / "base", "qwen2")
    settings = load_settings(None, ["finetune.dtype=float32"]).finetune
    model = adapted_model(str(base), ("q_proj", "v_proj"), settings)
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    for name, value in trained.items():
        if "lora_B" in name:
            torch.nn.init.normal_(value)
    save_adapter(
        model, {name: value.detach() for name, value in trained.items()}, tmp_path / "adapter"
    )
    module.merge(base, tmp_path / "adapter", tmp_path / "whole")
    monkeypatch.setattr(module, "LARGEST_SHARD", "50KB")
    module.merge(base, tmp_path / "adapter", tmp_path / "sharded")

    shards = sorted((tmp_path / "sharded").glob("*.safetensors"))
    assert len(shards) > 2
    whole, sharded = (
        AutoModelForCausalLM.from_pretrained(tmp_path / name).state_dict()
        for name in ("whole", "sharded")
    )
    assert all(torch.equal(whole[name], sharded[name]) for name in whole)
    before = content_digest(str(tmp_path / "sharded"), str(tmp_path / "cache"))
    shards[-1].write_bytes(shards[-1].read_bytes()[:-1] + b"\x01")
    assert content_digest(str(tmp_path / "sharded"), str(tmp_path / "cache")) != before
