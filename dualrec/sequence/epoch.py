"""One pass over chunks: loss, accuracy and top-5 accuracy at every position. Knows tensors and batches; not Ray."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

Batch = dict[str, np.ndarray]


@dataclass
class Totals:
    """Sums over targets; the same on every worker after `share`."""

    loss: float = 0.0
    correct: float = 0.0
    among_five: float = 0.0
    targets: float = 0.0

    def share(self) -> "Totals":
        """Sum over all workers, where there are several."""
        sums = torch.tensor([self.loss, self.correct, self.among_five, self.targets], dtype=torch.float64)
        if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
            device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
            sums = sums.to(device)
            torch.distributed.all_reduce(sums)
        return Totals(*sums.tolist())

    def means(self, prefix: str) -> dict[str, float]:
        """Loss (nats), accuracy and top-5 accuracy a target."""
        count = max(self.targets, 1.0)
        return {
            f"{prefix}_loss": self.loss / count,
            f"{prefix}_accuracy": self.correct / count,
            f"{prefix}_top5_accuracy": self.among_five / count,
        }


def train_epoch(
    network: nn.Module, batches: Iterable[Batch], optimizer: torch.optim.Optimizer, device: torch.device, workers: int
) -> Totals:
    """Take one optimizer step a batch; all workers must bring equally many.

    The loss is the mean over the targets of all workers' batches, so that the number of workers changes nothing.
    """
    network.train()
    totals = Totals()
    for inputs, targets in _tensors(batches, device):
        loss, counted = _loss(network(inputs), targets)
        everywhere = torch.tensor(float(counted.targets), device=device)
        if workers > 1:
            torch.distributed.all_reduce(everywhere)
        optimizer.zero_grad()
        (loss * workers / everywhere).backward()  # DDP averages gradients over the workers
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        _add(totals, counted)
    return totals


@torch.no_grad()
def evaluate_epoch(network: nn.Module, batches: Iterable[Batch], device: torch.device) -> Totals:
    """Sums over all targets of the batches, without dropout."""
    network.eval()
    totals = Totals()
    for inputs, targets in _tensors(batches, device):
        _add(totals, _loss(network(inputs), targets)[1])
    return totals


def _tensors(batches: Iterable[Batch], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in batches:
        longest = int(batch["size"].max())
        inputs, targets = (np.ascontiguousarray(batch[name][:, :longest]) for name in ("inputs", "targets"))
        yield torch.from_numpy(inputs).to(device), torch.from_numpy(targets).to(device)


def _loss(logits: Tensor, targets: Tensor) -> tuple[Tensor, Totals]:
    """The summed cross-entropy over real targets, and the sums to report."""
    real = targets > 0
    logits, wanted = logits[real], targets[real] - 1
    loss = functional.cross_entropy(logits, wanted, reduction="sum")
    with torch.no_grad():
        best = logits.topk(min(5, logits.shape[-1]), dim=-1).indices == wanted.unsqueeze(-1)
        totals = Totals(float(loss), float(best[:, 0].sum()), float(best.sum()), float(len(wanted)))
    return loss, totals


def _add(totals: Totals, more: Totals) -> None:
    totals.loss += more.loss
    totals.correct += more.correct
    totals.among_five += more.among_five
    totals.targets += more.targets
