"""What fine-tuning writes, served by the vLLM actors of `recommend`: the same words as transformers
write from it."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray.data

from dualrec.assets.nodes import ModelPlace
from dualrec.config.settings import load_settings
from dualrec.language.generate import generate
from dualrec.language.lora import adapted_model, merge, save_adapter
from dualrec.language.models import LanguageModel, ServedModel
from dualrec.storage.schemas import PROMPTED
from tests.language.tiny_models import write_model

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("ray_cluster")]

RANK, LETTERS = 8, 12
PROMPTS = [[40, 41, 42, 43, 44], [50, 45, 40, 35, 30, 25]]
OPTIONS = [
    "language.engine.enforce_eager=true",
    "language.engine.threads=2",
    "language.max_prompt_tokens=64",
    "language.titles=1",
]


def _adapter_that_changes_much(base: Path, folder: Path) -> None:
    import torch

    settings = load_settings(
        None, ["finetune.dtype=float32", f"finetune.lora_rank={RANK}"]
    ).finetune
    model = adapted_model(str(base), ("q_proj", "k_proj", "v_proj", "o_proj"), settings)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    save_adapter(
        model,
        {name: one.detach() for name, one in model.named_parameters() if one.requires_grad},
        folder,
    )


def _letters_by_transformers(folder: Path) -> list[str]:
    """The most likely lower-case letters after each prompt, one after another."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = (
        AutoTokenizer.from_pretrained(folder),
        AutoModelForCausalLM.from_pretrained(folder),
    )
    allowed = torch.tensor(tokenizer.convert_tokens_to_ids(list("abcdefghijklmnopqrstuvwxyz")))
    texts = []
    for prompt in PROMPTS:
        ids = list(prompt)
        for _ in range(LETTERS):
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0, -1]
            ids.append(int(allowed[logits[allowed].argmax()]))
        texts.append(tokenizer.decode(ids[len(prompt) :]))
    return texts


def _likelihoods_by_transformers(folder: Path, labels: list[int]) -> list[list[float]]:
    """The log-likelihood of each label as the token after each prompt."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        logits = [model(torch.tensor([prompt])).logits[0, -1].float() for prompt in PROMPTS]
    return [torch.log_softmax(one, -1)[labels].tolist() for one in logits]


def _requests() -> pa.Table:
    count = len(PROMPTS)
    columns = {
        "user_id": [*range(count)], "purpose": ["night"] * count, "decoding": ["shortlist"] * count,
        "item_ids": [[1]] * count, "held_out": [[]] * count, "sequence_item_ids": [[2]] * count,
        "sequence_scores": [[0.5]] * count, "prompt": ["as tokens"] * count,
    }  # fmt: skip
    return pa.table(columns, schema=PROMPTED).append_column(
        "tokenized_prompt", pa.array(PROMPTS, pa.list_(pa.int32()))
    )


def _by_vllm(requests: pa.Table, model: ServedModel, *options: str) -> list[dict[str, Any]]:
    settings = load_settings(None, [*OPTIONS, *options]).language
    answers = generate(ray.data.from_arrow(requests), model, settings).take_all()
    assert [row["error"] for row in answers] == [None] * len(PROMPTS)
    return sorted(answers, key=lambda row: row["user_id"])


def _place(folder: Path) -> ModelPlace:
    return ModelPlace(str(folder), "cache")


def _letters_by_vllm(model: ServedModel) -> list[str]:
    count = len(PROMPTS)
    requests = (
        _requests()
        .append_column("max_tokens", pa.array([LETTERS + 1] * count, pa.int32()))
        .append_column("grammar", pa.array([f"start: /[a-z]{{{LETTERS}}}/"] * count))
    )
    return [row["generated_text"] for row in _by_vllm(requests, model)]


@pytest.mark.parametrize("architecture", ["qwen2", pytest.param("mistral", marks=pytest.mark.long)])
def test_vllm_writes_what_transformers_writes(tmp_path: Path, architecture: str) -> None:
    base, adapter, merged = (
        write_model(tmp_path / "base", architecture),
        tmp_path / "adapter",
        tmp_path / "merged",
    )
    _adapter_that_changes_much(base, adapter)
    merge(base, adapter, merged)
    expected = _letters_by_transformers(merged)
    assert expected != _letters_by_transformers(base), (
        "the adapter changes what is written, so its absence would show"
    )
    model = ServedModel(LanguageModel(), _place(merged), dtype="float32")
    assert _letters_by_vllm(model) == expected


@pytest.mark.long
def test_vllm_tells_the_likelihoods_that_transformers_tells_and_writes_the_likeliest_label(
    tmp_path: Path,
) -> None:
    from transformers import AutoTokenizer

    base = write_model(tmp_path / "base", "qwen2")
    tokenizer = AutoTokenizer.from_pretrained(base)
    labels = tokenizer.convert_tokens_to_ids(list("ABCDEFGHIJ"))
    of_rows = [labels, labels[:4]]
    requests = (
        _requests()
        .append_column("max_tokens", pa.array([1] * len(PROMPTS), pa.int32()))
        .append_column("label_tokens", pa.array(of_rows, pa.list_(pa.int32())))
    )
    answers = _by_vllm(
        requests, ServedModel(LanguageModel(), _place(base), dtype="float32"), "language.mode=rank"
    )
    expected = _likelihoods_by_transformers(base, labels)
    for row, own, told in zip(answers, of_rows, expected, strict=True):
        assert row["label_logprobs"] == pytest.approx(told[: len(own)], abs=1e-3)
        likeliest = own[max(range(len(own)), key=lambda place: told[place])]
        assert row["generated_text"] == tokenizer.decode([likeliest])
