"""Which number format a machine computes fastest in. Knows processors; no model."""

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
