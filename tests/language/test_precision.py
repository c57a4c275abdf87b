from pathlib import Path

import pytest
import torch

from dualrec.language.precision import precision_of


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
