"""DeepSpeed around a model: its configuration, and whole tensors and checkpoints out of it. Every
worker calls each.

Knows settings and modules; not examples or Ray.
"""

import os
from pathlib import Path
from typing import Any

from dualrec.cluster.logs import silent_native_lines
from dualrec.config.settings import FinetuneSettings

TAG = "last"


def configuration(settings: FinetuneSettings, workers: int) -> dict[str, Any]:
    """DeepSpeed's configuration. The loss comes summed and is scaled before, so batch sizes only
    have to add up."""
    zero: dict[str, Any] = {
        "stage": settings.zero_stage,
        "overlap_comm": False,
        "contiguous_gradients": True,
    }
    if settings.cpu_offload:
        zero["offload_optimizer"] = {"device": "cpu"}
        if settings.zero_stage == 3:
            zero["offload_param"] = {"device": "cpu"}
    if settings.zero_stage == 3:
        zero["stage3_param_persistence_threshold"] = (
            0  # small adapters too are split, so that they are gathered alike
        )
    return {
        "train_micro_batch_size_per_gpu": settings.batch_size // (workers * settings.accumulation),
        "gradient_accumulation_steps": settings.accumulation,
        "gradient_clipping": settings.gradient_clip,
        "bf16": {"enabled": settings.dtype == "bfloat16"},
        "zero_optimization": zero,
        "zero_force_ds_cpu_optimizer": False,  # its own Adam for CPUs would be compiled on the spot
        "steps_per_print": 1_000_000_000,
        "wall_clock_breakdown": False,
    }


def engine_of(module: Any, settings: FinetuneSettings, workers: int) -> Any:
    """A DeepSpeed engine that trains the parameters which want a gradient, by AdamW."""
    import logging

    import torch

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    import deepspeed

    # When it first needs to know, it tries which of its own operators could be compiled here, with
    # the compiler's errors on the screen. None is needed, and its shared-memory all-reduce for CPUs
    # would then be compiled for minutes; gloo does as well.
    with silent_native_lines():
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    _join_process_group()
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    engine, *_ = deepspeed.initialize(
        model=module,
        model_parameters=trained,
        optimizer=optimizer,
        config=configuration(settings, workers),
    )
    return engine


def _join_process_group() -> None:
    """Begin a process group of this process alone, unless Ray Train made one of its workers. It
    lasts as long as the process."""
    import torch

    if not torch.distributed.is_initialized():
        os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed refuses to start without
        torch.distributed.init_process_group(
            "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
        )


def set_learning_rate(engine: Any, rate: float) -> None:
    """Set what the next step takes."""
    for group in engine.optimizer.param_groups:
        group["lr"] = rate


def trained_weights(module: Any, prefix: str) -> dict[str, Any]:
    """Whole copies, on the CPU, of the parameters that are trained, by name without `prefix`.

    Under stage 3 each worker holds a piece of them: all must call this, or all wait for ever.
    """
    import deepspeed

    named = {
        name.removeprefix(prefix): value
        for name, value in module.named_parameters()
        if value.requires_grad
    }
    with deepspeed.zero.GatheredParameters(list(named.values()), modifier_rank=None):
        return {name: value.detach().cpu().clone() for name, value in named.items()}


def save_engine(engine: Any, folder: Path) -> None:
    """Write this worker's part of the adapter's and the optimizer's state. All workers must call
    it."""
    engine.save_checkpoint(str(folder), tag=TAG, exclude_frozen_parameters=True)


def load_engine(engine: Any, folder: Path) -> None:
    """Go on from what `save_engine` wrote on equally many workers."""
    path, _ = engine.load_checkpoint(str(folder), tag=TAG, load_module_strict=False)
    assert path is not None, f"{folder} holds no state of a training on as many workers"
