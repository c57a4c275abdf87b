"""Presets: what reasoning models are given, and what can be asked of models behind an endpoint."""

from pathlib import Path

import pytest
import torch

from dualrec.config.settings import load_settings
from dualrec.errors import SettingsError
from dualrec.language.models import (
    PRESETS,
    LanguageModel,
    check_ranking,
    check_room_on_cpus,
    decodings_of,
    language_model,
    precision_of,
)
from dualrec.language.prompts.chat_template import close_thinking, prompt_tokens

# How DeepSeek's distilled models end a generation prompt, and how other templates do.
OPENED = (
    "{% for m in messages %}{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|Assistant|><think>\n{% endif %}"
)
UNOPENED = (
    "{% for m in messages %}{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|Assistant|>\n{% endif %}"
)
MESSAGES = [{"role": "user", "content": "movies?"}]


def tokenizer(template: str):
    """One token a byte, with a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(
        models.BPE({character: number for number, character in enumerate(alphabet)}, [])
    )
    inner.pre_tokenizer, inner.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )
    return PreTrainedTokenizerFast(tokenizer_object=inner, chat_template=template)


@pytest.mark.parametrize("template", [OPENED, UNOPENED])
def test_a_reasoning_model_finds_its_thinking_closed_whatever_the_template(template: str) -> None:
    preset, tokens = PRESETS["deepseek-r1-distill-qwen-1.5b"], tokenizer(template)
    text = tokens.decode(prompt_tokens(tokens, preset, MESSAGES))
    assert text.count("<think>") == text.count("</think>") == 1
    assert text.endswith("<think>\n\n</think>\n\n")
    assert text.startswith("movies?<|Assistant|>")


def test_other_models_are_given_their_template_and_nothing_more() -> None:
    tokens = tokenizer(UNOPENED)
    assert (
        tokens.decode(prompt_tokens(tokens, LanguageModel(), MESSAGES)) == "movies?<|Assistant|>\n"
    )


def test_closing_keeps_the_space_before_an_unopened_block() -> None:
    assert close_thinking("assistant\n") == "assistant\n<think>\n\n</think>\n\n"


def test_a_model_behind_an_endpoint_has_no_place_and_writes_freely() -> None:
    preset, place = language_model(load_settings(None, ["language.model=deepseek-v3"]))
    assert place is None
    assert preset.endpoint == "deepseek/deepseek-chat"
    assert decodings_of("deepseek-v3") == ("free",)
    assert decodings_of("smollm2-135m") == decodings_of("/some/folder") == ("free", "shortlist")


def test_a_model_that_no_node_can_hold_is_told_before_it_is_loaded() -> None:
    with pytest.raises(
        SettingsError, match=r"mistral-7b-instruct-v0.3 take 13.5 GiB.*use_gpu=true"
    ):
        check_room_on_cpus("mistral-7b-instruct-v0.3", node_gib=8.0)
    check_room_on_cpus("mistral-7b-instruct-v0.3", node_gib=32.0)
    check_room_on_cpus("/some/folder", node_gib=0.1)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["language.model=deepseek-v3"], "served at an endpoint.*language.mode=generate"),
        (["sequence.top_k=19"], r"rank_candidates \(20\) exceeds sequence.top_k \(19\)"),
    ],
)
def test_what_cannot_be_ranked_is_told_before_a_model_is_loaded(
    overrides: list[str], said: str
) -> None:
    check_ranking(load_settings(None, overrides))
    with pytest.raises(SettingsError, match=said):
        check_ranking(load_settings(None, [*overrides, "language.mode=rank"]))


@pytest.mark.parametrize(
    ("can", "precision"),
    [
        ({"avx512_bf16": True}, "bfloat16"),
        ({"avx512_bf16": False, "avx512_f": True}, "float32"),
        ({}, "float32"),
    ],
)
def test_auto_is_what_the_processor_computes_in(
    monkeypatch: pytest.MonkeyPatch, can: dict[str, bool], precision: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can)
    assert precision_of("auto", use_gpu=False) == precision
    assert precision_of("float16", use_gpu=False) == "float16"


def test_this_processor_computes_in_what_the_kernel_says_that_it_can() -> None:
    flags = set(Path("/proc/cpuinfo").read_text().split())
    assert precision_of("auto", use_gpu=False) == (
        "bfloat16" if flags & {"avx512_bf16", "amx_bf16"} else "float32"
    )
