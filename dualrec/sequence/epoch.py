"""One pass over batches of chunks: optimizer steps, and sums of loss, accuracy and top-5 accuracy.

Comes in: a loss module and batches. Goes out: sums over targets. Knows tensors; not Ray.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dualrec.sequence.chunks import ChunkBatch


@dataclass
class EpochTotals:
    """Sums over the targets of an epoch; the same on every worker after `share`."""

    loss: float = 0.0
    correct: float = 0.0
    top5_correct: float = 0.0
    targets: float = 0.0
    ranked: float = 0.0  # targets ranked among all items: `correct` and `top5_correct` are of these
    data_wait_s: float = 0.0  # time without a batch to train on

    def share(self) -> "EpochTotals":
        """Sum over all workers. Collective: call it on all ranks, or it deadlocks."""
        sums = torch.tensor(astuple(self), dtype=torch.float64)
        if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
            device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
            sums = sums.to(device)
            torch.distributed.all_reduce(sums)
        return EpochTotals(*sums.tolist())

    def means(self, prefix: str) -> dict[str, float]:
        """Return loss (nats) and, where targets were ranked, accuracy and top-5 accuracy."""
        means = {f"{prefix}_loss": self.loss / max(self.targets, 1.0)}
        if self.ranked:
            means[f"{prefix}_accuracy"] = self.correct / self.ranked
            means[f"{prefix}_top5_accuracy"] = self.top5_correct / self.ranked
        return means


def train_sequence_epoch(
    summed_loss: nn.Module,
    batches: Iterable[ChunkBatch],
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    workers: int,
) -> EpochTotals:
    """Take one optimizer step a batch. Collective: all ranks need equally many batches.

    The loss is the mean over the targets of all workers' batches, so that the number of workers
    does not change it.

    Args:
        summed_loss: an EnsembleLoss, wrapped by DDP or not.
    """
    summed_loss.train()
    timed, sums = _TimedBatches(batches), torch.zeros(5, dtype=torch.float64, device=device)
    for inputs, targets in _tensors(timed, device):
        loss, counted = summed_loss(inputs, targets)
        all_targets = counted[3].float()
        if workers > 1:
            torch.distributed.all_reduce(all_targets)
        optimizer.zero_grad()
        (loss * workers / all_targets).backward()  # DDP averages gradients over the workers
        nn.utils.clip_grad_norm_(summed_loss.parameters(), 5.0)
        optimizer.step()
        sums += counted
    return _totals(sums, timed)


@torch.no_grad()
def evaluate_sequence_epoch(
    summed_loss: nn.Module, batches: Iterable[ChunkBatch], device: torch.device
) -> EpochTotals:
    """Sum over all targets of the batches, without dropout and ranked among all items."""
    summed_loss.eval()
    timed, sums = _TimedBatches(batches), torch.zeros(5, dtype=torch.float64, device=device)
    for inputs, targets in _tensors(timed, device):
        sums += summed_loss(inputs, targets)[1]
    return _totals(sums, timed)


class _TimedBatches:
    """Yields batches, and sums the seconds in which none was ready."""

    def __init__(self, batches: Iterable[ChunkBatch]) -> None:
        self.batches, self.seconds = batches, 0.0

    def __iter__(self) -> Iterator[ChunkBatch]:
        iterator = iter(self.batches)
        while True:
            started = time.perf_counter()
            batch = next(iterator, None)
            self.seconds += time.perf_counter() - started
            if batch is None:
                return
            yield batch


def _totals(sums: Tensor, timed: _TimedBatches) -> EpochTotals:
    totals = EpochTotals(*sums.tolist())
    totals.data_wait_s = timed.seconds
    return totals


def _tensors(
    batches: Iterable[ChunkBatch], device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in batches:
        longest = int(batch["size"].max())
        # Copies: Arrow's own memory is read-only, which PyTorch warns of.
        inputs, targets = (
            np.array(batch[name][:, :longest], order="C") for name in ("inputs", "targets")
        )
        yield torch.from_numpy(inputs).to(device), torch.from_numpy(targets).to(device)
