"""Train under DeepSpeed: its engine, optimizer steps over a shard, and the loss without them. Knows
settings, modules and batches; not users or Ray. What sums or gathers over workers is collective.
"""

import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dualrec.cluster.logs import silent_native_lines
from dualrec.config.settings import FinetuneSettings
from dualrec.language.batches import (
    Shard,
    TokenBatch,
    collate,
    epoch_steps,
    split_step,
    validation_batches,
)

TAG = "last"


def deepspeed_config(settings: FinetuneSettings, workers: int) -> dict[str, Any]:
    """Return DeepSpeed's configuration. The loss comes summed and is scaled before, so batch sizes
    only have to add up."""
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


def build_engine(module: Any, settings: FinetuneSettings, workers: int) -> Any:
    """Build a DeepSpeed engine that trains the parameters which want a gradient, by AdamW."""
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
        config=deepspeed_config(settings, workers),
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
    """Return whole copies, on the CPU, of the parameters that are trained, by name without
    `prefix`.

    Collective: under stage 3 each worker holds a piece of them, so call it on all ranks, or it
    deadlocks.
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
    """Write this worker's part of the adapter's and the optimizer's state. Collective: call it on
    all ranks."""
    engine.save_checkpoint(str(folder), tag=TAG, exclude_frozen_parameters=True)


def load_engine(engine: Any, folder: Path) -> None:
    """Go on from what `save_engine` wrote on equally many workers."""
    path, _ = engine.load_checkpoint(str(folder), tag=TAG, load_module_strict=False)
    assert path is not None, f"{folder} holds no state of a training on as many workers"


PROGRESS_EVERY_S = 30.0
_CURVE_POINTS = 200  # of an epoch, at most

logger = logging.getLogger(__name__)


@dataclass
class TokenTotals:
    """Sums of a pass over one worker's examples; over all workers' after `share`."""

    loss: float = 0.0
    targets: float = 0.0
    tokens: float = 0.0
    examples: float = 0.0

    def share(self) -> "TokenTotals":
        """Sum over all workers."""
        return TokenTotals(*_summed([self.loss, self.targets, self.tokens, self.examples]))

    @property
    def mean_loss(self) -> float:
        """Nats a label."""
        return self.loss / max(self.targets, 1.0)

    def add(self, loss: float, batch: TokenBatch, examples: int) -> None:
        """Count a batch."""
        self.loss += loss
        self.targets += batch.targets
        self.tokens += batch.tokens
        self.examples += examples


@dataclass
class EpochState:
    """Where a pass is in its epochs, for the schedule and the lines of progress."""

    epoch: int
    rank: int
    workers: int
    pad_to: int = 0  # pad every example to so many tokens: for comparison only
    curve: list[dict[str, float]] = field(default_factory=list)


def scheduled_rate(step: int, steps: int, settings: FinetuneSettings) -> float:
    """The rate of one step, counted from 0: rises in a line over the warm-up, then falls as half a
    cosine to zero."""
    warmup = math.ceil(settings.warmup_fraction * steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    return (
        settings.learning_rate
        * 0.5
        * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))
    )


def train_adapter_epoch(
    engine: Any, shard: Shard, settings: FinetuneSettings, pace: EpochState
) -> TokenTotals:
    """Take one optimizer step for each group of examples; all workers must bring equally many
    examples.

    The loss of a step is the mean over the labels of all workers' batches, so that the number of
    workers changes nothing.
    """
    engine.train()
    totals, log_progress = TokenTotals(), _ProgressLog(settings, pace)
    plan = epoch_steps(
        shard.lengths, settings.batch_size // pace.workers, settings.seed, pace.epoch
    )
    for number, rows in enumerate(plan):
        step = (pace.epoch - 1) * len(plan) + number
        rate = scheduled_rate(step, len(plan) * settings.epochs, settings)
        set_learning_rate(engine, rate)
        pieces = split_step(rows, settings.accumulation)
        batches = [collate(shard, piece, settings.loss == "all", pace.pad_to) for piece in pieces]
        (everywhere,) = _summed([float(sum(batch.targets for batch in batches))])
        before = totals.loss
        for batch, piece in zip(batches, pieces, strict=True):
            loss = engine(**_tensors(batch, engine.device))
            # DeepSpeed takes the mean over workers and over the parts of a step.
            engine.backward(loss * (pace.workers * settings.accumulation / everywhere))
            engine.step()
            totals.add(float(loss.detach()), batch, len(piece))
        if number % max(len(plan) // _CURVE_POINTS, 1) == 0:
            own = sum(batch.targets for batch in batches)
            pace.curve.append(
                {
                    "step": step + 1,
                    "loss": (totals.loss - before) / max(own, 1),
                    "learning_rate": rate,
                }
            )
        log_progress(number + 1, len(plan), totals)
    return totals


def evaluate_adapter_epoch(
    engine: Any, shard: Shard, settings: FinetuneSettings, pace: EpochState
) -> TokenTotals:
    """Sums over the answers, whatever the training loss, of a shard that every worker holds whole;
    each computes its share."""
    engine.eval()
    totals = TokenTotals()
    rows_a_batch = max(settings.batch_size // (pace.workers * settings.accumulation), 1)
    with torch.no_grad():
        for rows in validation_batches(shard.lengths, rows_a_batch, pace.rank, pace.workers):
            batch = collate(shard, rows)
            totals.add(float(engine(**_tensors(batch, engine.device))), batch, len(rows))
    return totals


def peak_memory_gib(device: torch.device) -> float:
    """The most memory that any worker's process, or its GPU, has held."""
    if device.type == "cuda":
        own = torch.cuda.max_memory_allocated(device) / 2**30
    else:
        import resource

        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    most = torch.tensor(own, dtype=torch.float64, device=device)
    torch.distributed.all_reduce(most, op=torch.distributed.ReduceOp.MAX)
    return float(most)


def _tensors(batch: TokenBatch, device: torch.device) -> dict[str, torch.Tensor]:
    return {
        name: torch.from_numpy(getattr(batch, name)).to(device) for name in ("input_ids", "labels")
    }


def _summed(values: list[float]) -> list[float]:
    device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    sums = torch.tensor(values, dtype=torch.float64, device=device)
    torch.distributed.all_reduce(sums)
    return [float(value) for value in sums.tolist()]


class _ProgressLog:
    """Log every half minute how far an epoch is, on the first worker."""

    def __init__(self, settings: FinetuneSettings, pace: EpochState) -> None:
        self.settings, self.pace = settings, pace
        self.started = self.logged_at = time.perf_counter()
        self.clock: Callable[[], float] = time.perf_counter

    def __call__(self, done: int, steps: int, totals: TokenTotals) -> None:
        now = self.clock()
        if self.pace.rank or now - self.logged_at < PROGRESS_EVERY_S:
            return
        self.logged_at = now
        seconds = now - self.started
        left = seconds / done * (steps - done + (self.settings.epochs - self.pace.epoch) * steps)
        rate = totals.tokens * self.pace.workers / seconds
        logger.info(
            f"epoch {self.pace.epoch}/{self.settings.epochs}, step {done}/{steps}: loss "
            f"{totals.mean_loss:.3f}, "
            f"{rate:,.0f} tokens/s, about {left / 60:.1f} min left"
        )


def seed_epoch(settings: FinetuneSettings, epoch: int, rank: int) -> None:
    """Seed dropout: a resumed epoch draws what it would have drawn."""
    torch.manual_seed(
        int(np.random.SeedSequence([settings.seed, epoch, rank]).generate_state(1)[0])
    )
