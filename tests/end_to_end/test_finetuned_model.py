"""What fine-tuning writes, served by vLLM: the same words as transformers write from it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dualrec.language.merge import merge
from dualrec.settings import load_settings
from tests.language.tiny_models import write_model

SERVE = """
import json, sys
from vllm import LLM, SamplingParams
folder, prompt = sys.argv[1], json.loads(sys.argv[2])
engine = LLM(model=folder, dtype="float32", enforce_eager=True, max_model_len=64, max_num_seqs=2)
sampling = SamplingParams(temperature=0.0, max_tokens=8, ignore_eos=True)
(answer,) = engine.generate([{"prompt_token_ids": prompt}], sampling)
print("TOKENS", json.dumps(list(answer.outputs[0].token_ids)))
"""


def _adapter_that_changes_much(base: Path, folder: Path) -> None:
    import torch

    from dualrec.language.lora import adapted_model, save_adapter

    settings = load_settings(None, ["finetune.dtype=float32"]).finetune
    model = adapted_model(str(base), ("q_proj", "k_proj", "v_proj", "o_proj"), settings)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    save_adapter(model, {name: one.detach() for name, one in model.named_parameters() if one.requires_grad}, folder)


@pytest.mark.end_to_end
@pytest.mark.parametrize("architecture", ["qwen2", "mistral"])
def test_vllm_writes_what_transformers_writes_from_a_merged_model(tmp_path: Path, architecture: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    base, merged, prompt = write_model(tmp_path / "base", architecture), tmp_path / "merged", [40, 41, 42, 43, 44]
    _adapter_that_changes_much(base, tmp_path / "adapter")
    merge(base, tmp_path / "adapter", merged)
    model = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32)
    options = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False, "eos_token_id": -1}
    expected = model.generate(torch.tensor([prompt]), **options)[0, len(prompt) :].tolist()

    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", SERVE, str(merged), json.dumps(prompt)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("TOKENS"))
    assert json.loads(line.removeprefix("TOKENS ")) == expected
