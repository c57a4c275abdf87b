"""The adapter and the loss of single batches, without Ray or DeepSpeed."""

from pathlib import Path

import numpy as np
import pytest

from dualrec.config.settings import load_settings
from dualrec.errors import SettingsError
from dualrec.language.batches import IGNORED, collate, shard_of
from tests.language.test_batches import encoded
from tests.language.tiny_models import write_model

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
SETTINGS = load_settings(None, ["finetune.dtype=float32", "finetune.lora_dropout=0.0"]).finetune


@pytest.mark.parametrize("architecture", ["qwen2", "mistral"])
def test_the_loss_is_that_of_the_whole_model_over_the_labels(
    tmp_path: Path, architecture: str
) -> None:
    import torch
    from torch.nn import functional

    from dualrec.language.lora import SummedTokenLoss, adapted_model

    folder = write_model(tmp_path, architecture)
    shard = shard_of([encoded({0: ([11, 12, 13, 14, 15], 3), 1: ([21, 22, 23], 1)})])
    batch = collate(shard, np.array([0, 1]))
    input_ids, labels = torch.from_numpy(batch.input_ids), torch.from_numpy(batch.labels)
    model = adapted_model(str(folder), ATTENTION, SETTINGS)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    logits = model(input_ids=input_ids, attention_mask=mask).logits
    expected = functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    loss = SummedTokenLoss(model)
    assert float(loss(input_ids, labels).detach()) == pytest.approx(float(expected), rel=1e-5)
    filler = collate(shard, np.array([], np.int64))
    nothing = loss(torch.from_numpy(filler.input_ids), torch.from_numpy(filler.labels))
    nothing.backward()
    assert float(nothing.detach()) == 0.0
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert trained and all(not bool(parameter.grad.any()) for parameter in trained)


@pytest.mark.parametrize("architecture", ["qwen2", "mistral"])
def test_a_shared_beginning_changes_neither_loss_nor_gradient(
    tmp_path: Path, architecture: str
) -> None:
    import torch

    from dualrec.language.lora import SummedTokenLoss, adapted_model, shared_prefix

    folder = write_model(tmp_path, architecture)
    same = [5, 6, 7, 8, 9, 10]
    shard = shard_of(
        [
            encoded(
                {0: ([*same, 12, 13, 14], 7), 1: ([*same, 22, 23], 7), 2: ([*same, 6, 6, 6, 7], 8)}
            )
        ]
    )
    batch = collate(shard, np.arange(3))
    input_ids, labels = torch.from_numpy(batch.input_ids), torch.from_numpy(batch.labels)
    assert shared_prefix(input_ids, labels != IGNORED) == 6
    assert shared_prefix(input_ids, torch.ones_like(input_ids, dtype=torch.bool)) == 0
    losses, gradients = [], []
    for shares in (False, True):
        torch.manual_seed(0)
        model = adapted_model(str(folder), ATTENTION, SETTINGS)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
        loss = SummedTokenLoss(model, shares)(input_ids, labels)
        loss.backward()
        losses.append(float(loss.detach()))
        gradients.append([one.grad for one in model.parameters() if one.requires_grad])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert all(
        torch.allclose(one, other, atol=1e-4, rtol=1e-3)
        for one, other in zip(*gradients, strict=True)
    )


def test_target_modules_that_match_nothing_are_an_error_that_names_the_layers(
    tmp_path: Path,
) -> None:
    from dualrec.language.lora import adapted_model, check_model

    folder = str(write_model(tmp_path, "qwen2"))
    check_model(folder, ATTENTION)
    for check in (check_model, lambda *arguments: adapted_model(*arguments, SETTINGS)):
        with pytest.raises(
            SettingsError, match=r"'c_attn'.*match no layer.*q_proj.*language/models\.py"
        ):
            check(folder, ("q_proj", "c_attn"))


def test_an_untrained_or_empty_adapter_is_not_saved(tmp_path: Path) -> None:
    import torch

    from dualrec.language.lora import adapted_model, check_adapter, save_adapter

    model = adapted_model(str(write_model(tmp_path / "model", "qwen2")), ATTENTION, SETTINGS)
    weights = {
        name: value.detach() for name, value in model.named_parameters() if value.requires_grad
    }
    with pytest.raises(AssertionError, match="nothing was learned"):
        save_adapter(model, weights, tmp_path / "adapter")
    some = {"lora_A": torch.ones(2, 2), "lora_B": torch.ones(2, 2)}
    check_adapter(some)
    for broken in (torch.empty(0), torch.full((2, 2), torch.nan)):
        with pytest.raises(AssertionError, match="is empty|not finite"):
            check_adapter({**some, "lora_A": broken})


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    from dualrec.language.steps import scheduled_rate

    settings = load_settings(
        None, ["finetune.learning_rate=1.0", "finetune.warmup_fraction=0.1"]
    ).finetune
    rates = [scheduled_rate(step, 100, settings) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert rates[10] == 1.0 and rates[55] == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.001


def test_a_batch_must_divide_among_workers_and_parts() -> None:
    with pytest.raises(SettingsError, match=r"batch_size \(16\) must be a multiple"):
        load_settings(None, ["finetune.resources.workers=3"])


def test_a_merged_model_of_several_shards_is_loaded_and_digested_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from dualrec.assets.digests import content_digest
    from dualrec.language import lora

    base, adapter = write_model(tmp_path / "base", "qwen2"), tmp_path / "adapter"
    config = LoraConfig(target_modules=list(ATTENTION), init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(adapter)
    lora.merge(base, adapter, tmp_path / "whole")
    monkeypatch.setattr(lora, "LARGEST_SHARD", "100KB")
    lora.merge(base, adapter, tmp_path / "shards")
    shards = sorted((tmp_path / "shards").glob("model-*.safetensors"))
    assert len(shards) > 1
    assert all(shard.stat().st_size < 110_000 for shard in shards)
    whole, sharded = (
        AutoModelForCausalLM.from_pretrained(tmp_path / name).state_dict()
        for name in ("whole", "shards")
    )
    assert whole.keys() == sharded.keys()
    assert all(torch.equal(whole[name], sharded[name]) for name in whole)
    digest = content_digest(str(tmp_path / "shards"), tmp_path / "cache")
    content = bytearray(shards[-1].read_bytes())
    content[-1] ^= 1
    shards[-1].write_bytes(content)
    assert content_digest(str(tmp_path / "shards"), tmp_path / "cache") != digest
