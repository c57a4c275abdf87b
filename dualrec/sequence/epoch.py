"""One pass over chunks: loss, accuracy and top-5 accuracy at every position. Knows tensors and
batches; not Ray."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dualrec.sequence.batches import Batch


@dataclass
class Totals:
    """Sums over targets; the same on every worker after `share`."""

    loss: float = 0.0
    correct: float = 0.0
    among_five: float = 0.0
    targets: float = 0.0
    ranked: float = (
        0.0  # targets that were looked for among all items, which `correct` and `among_five` are of
    )
    waited_s: float = 0.0  # for batches to come

    def share(self) -> "Totals":
        """Sum over all workers, where there are several."""
        sums = torch.tensor(astuple(self), dtype=torch.float64)
        if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
            device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
            sums = sums.to(device)
            torch.distributed.all_reduce(sums)
        return Totals(*sums.tolist())

    def means(self, prefix: str) -> dict[str, float]:
        """Loss (nats) and, where they are known, accuracy and top-5 accuracy a target."""
        means = {f"{prefix}_loss": self.loss / max(self.targets, 1.0)}
        if self.ranked:
            means[f"{prefix}_accuracy"] = self.correct / self.ranked
            means[f"{prefix}_top5_accuracy"] = self.among_five / self.ranked
        return means


def train_epoch(
    summed_loss: nn.Module,
    batches: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    workers: int,
) -> Totals:
    """Take one optimizer step a batch; all workers must bring equally many.

    The loss is the mean over the targets of all workers' batches, so that the number of workers
    changes nothing.

    Args:
        summed_loss: a SummedLoss, also one that DDP wraps.
    """
    summed_loss.train()
    waiting, sums = _Waiting(batches), torch.zeros(5, dtype=torch.float64, device=device)
    for inputs, targets in _tensors(waiting, device):
        loss, counted = summed_loss(inputs, targets)
        everywhere = counted[3].float()
        if workers > 1:
            torch.distributed.all_reduce(everywhere)
        optimizer.zero_grad()
        (loss * workers / everywhere).backward()  # DDP averages gradients over the workers
        nn.utils.clip_grad_norm_(summed_loss.parameters(), 5.0)
        optimizer.step()
        sums += counted
    return _totals(sums, waiting)


@torch.no_grad()
def evaluate_epoch(
    summed_loss: nn.Module, batches: Iterable[Batch], device: torch.device
) -> Totals:
    """Sums over all targets of the batches, without dropout and among all items."""
    summed_loss.eval()
    waiting, sums = _Waiting(batches), torch.zeros(5, dtype=torch.float64, device=device)
    for inputs, targets in _tensors(waiting, device):
        sums += summed_loss(inputs, targets)[1]
    return _totals(sums, waiting)


class _Waiting:
    """Hands batches on, and sums up how long they were waited for."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self.batches, self.seconds = batches, 0.0

    def __iter__(self) -> Iterator[Batch]:
        iterator = iter(self.batches)
        while True:
            began = time.perf_counter()
            batch = next(iterator, None)
            self.seconds += time.perf_counter() - began
            if batch is None:
                return
            yield batch


def _totals(sums: Tensor, waiting: _Waiting) -> Totals:
    totals = Totals(*sums.tolist())
    totals.waited_s = waiting.seconds
    return totals


def _tensors(batches: Iterable[Batch], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in batches:
        longest = int(batch["size"].max())
        # Copies: Arrow's own memory is read-only, which PyTorch warns of.
        inputs, targets = (
            np.array(batch[name][:, :longest], order="C") for name in ("inputs", "targets")
        )
        yield torch.from_numpy(inputs).to(device), torch.from_numpy(targets).to(device)
