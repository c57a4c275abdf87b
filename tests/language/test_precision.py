import pytest
import torch

from dualrec.language.precision import precision_of


@pytest.mark.parametrize(
    ("can", "precision"),
    [({"avx512_bf16": True}, "bfloat16"), ({"avx512_bf16": False, "avx512_f": True}, "float32"), ({}, "float32")],
)
def test_auto_is_what_the_processor_computes_in(
    monkeypatch: pytest.MonkeyPatch, can: dict[str, bool], precision: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can)
    assert precision_of("auto", use_gpu=False) == precision
    assert precision_of("float16", use_gpu=False) == "float16"


def test_this_processor_is_known() -> None:
    assert precision_of("auto", use_gpu=False) in ("bfloat16", "float32")
