"""Passes over a shard: optimizer steps, and the loss without them. Knows an engine and batches; not
Ray."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from dualrec.config.settings import FinetuneSettings
from dualrec.language.batches import Batch, Shard, collate, epoch_steps, parts, validation_batches
from dualrec.language.zero import set_learning_rate

PROGRESS_EVERY_S = 30.0
_CURVE_POINTS = 200  # of an epoch, at most

logger = logging.getLogger(__name__)


@dataclass
class Totals:
    """Sums of a pass over one worker's examples; over all workers' after `share`."""

    loss: float = 0.0
    targets: float = 0.0
    tokens: float = 0.0
    examples: float = 0.0

    def share(self) -> "Totals":
        """Sum over all workers."""
        return Totals(*_summed([self.loss, self.targets, self.tokens, self.examples]))

    @property
    def mean_loss(self) -> float:
        """Nats a label."""
        return self.loss / max(self.targets, 1.0)

    def add(self, loss: float, batch: Batch, examples: int) -> None:
        """Count a batch."""
        self.loss += loss
        self.targets += batch.targets
        self.tokens += batch.tokens
        self.examples += examples


@dataclass
class Pace:
    """Where in its epochs a pass stands, for the schedule and the lines of progress."""

    epoch: int
    rank: int
    workers: int
    pad_to: int = 0  # pad every example to so many tokens: for comparison only
    curve: list[dict[str, float]] = field(default_factory=list)


def learning_rate(step: int, steps: int, settings: FinetuneSettings) -> float:
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


def train_epoch(engine: Any, shard: Shard, settings: FinetuneSettings, pace: Pace) -> Totals:
    """Take one optimizer step for each group of examples; all workers must bring equally many
    examples.

    The loss of a step is the mean over the labels of all workers' batches, so that the number of
    workers changes nothing.
    """
    engine.train()
    totals, tell = Totals(), _Teller(settings, pace)
    plan = epoch_steps(
        shard.lengths, settings.batch_size // pace.workers, settings.seed, pace.epoch
    )
    for number, rows in enumerate(plan):
        step = (pace.epoch - 1) * len(plan) + number
        rate = learning_rate(step, len(plan) * settings.epochs, settings)
        set_learning_rate(engine, rate)
        pieces = parts(rows, settings.accumulation)
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
        tell(number + 1, len(plan), totals)
    return totals


def evaluate_epoch(engine: Any, shard: Shard, settings: FinetuneSettings, pace: Pace) -> Totals:
    """Sums over the answers, whatever the training loss, of a shard that every worker holds whole;
    each computes its share."""
    engine.eval()
    totals = Totals()
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


def _tensors(batch: Batch, device: torch.device) -> dict[str, torch.Tensor]:
    return {
        name: torch.from_numpy(getattr(batch, name)).to(device) for name in ("input_ids", "labels")
    }


def _summed(values: list[float]) -> list[float]:
    device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    sums = torch.tensor(values, dtype=torch.float64, device=device)
    torch.distributed.all_reduce(sums)
    return [float(value) for value in sums.tolist()]


class _Teller:
    """Says every half minute how far an epoch is, on the first worker."""

    def __init__(self, settings: FinetuneSettings, pace: Pace) -> None:
        self.settings, self.pace = settings, pace
        self.started = self.told = time.perf_counter()
        self.clock: Callable[[], float] = time.perf_counter

    def __call__(self, done: int, steps: int, totals: Totals) -> None:
        now = self.clock()
        if self.pace.rank or now - self.told < PROGRESS_EVERY_S:
            return
        self.told = now
        seconds = now - self.started
        left = seconds / done * (steps - done + (self.settings.epochs - self.pace.epoch) * steps)
        rate = totals.tokens * self.pace.workers / seconds
        logger.info(
            f"epoch {self.pace.epoch}/{self.settings.epochs}, step {done}/{steps}: loss {totals.mean_loss:.3f}, "
            f"{rate:,.0f} tokens/s, about {left / 60:.1f} min left"
        )


def seed_epoch(settings: FinetuneSettings, epoch: int, rank: int) -> None:
    """Seed dropout: a resumed epoch draws what it would have drawn."""
    torch.manual_seed(
        int(np.random.SeedSequence([settings.seed, epoch, rank]).generate_state(1)[0])
    )
