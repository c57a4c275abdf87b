"""One pass over chunks: loss, accuracy and top-5 accuracy at every position. Knows tensors and batches; not Ray."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dualrec.sequence.ensemble import averaged

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
    ensemble: nn.Module,
    batches: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    workers: int,
    ahead: Sequence[int],
) -> Totals:
    """Take one optimizer step a batch; all workers must bring equally many.

    The loss is the mean over the targets of all workers' batches, so that the number of workers changes nothing.

    Args:
        ensemble: gives logits (members, batch, length, N); a SequenceEnsemble, also one that DDP wraps.
        ahead: for each member how many of the next movies it is to foresee.
    """
    ensemble.train()
    totals = Totals()
    for inputs, targets in _tensors(batches, device):
        loss, counted = _loss(ensemble(inputs), targets, ahead)
        everywhere = torch.tensor(float(counted.targets), device=device)
        if workers > 1:
            torch.distributed.all_reduce(everywhere)
        optimizer.zero_grad()
        (loss * workers / everywhere).backward()  # DDP averages gradients over the workers
        nn.utils.clip_grad_norm_(ensemble.parameters(), 5.0)
        optimizer.step()
        _add(totals, counted)
    return totals


@torch.no_grad()
def evaluate_epoch(ensemble: nn.Module, batches: Iterable[Batch], device: torch.device, ahead: Sequence[int]) -> Totals:
    """Sums over all targets of the batches, without dropout."""
    ensemble.eval()
    totals = Totals()
    for inputs, targets in _tensors(batches, device):
        _add(totals, _loss(ensemble(inputs), targets, ahead)[1])
    return totals


def _tensors(batches: Iterable[Batch], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in batches:
        longest = int(batch["size"].max())
        inputs, targets = (np.ascontiguousarray(batch[name][:, :longest]) for name in ("inputs", "targets"))
        yield torch.from_numpy(inputs).to(device), torch.from_numpy(targets).to(device)


def _loss(logits: Tensor, targets: Tensor, ahead: Sequence[int]) -> tuple[Tensor, Totals]:
    """The summed loss over real targets, the members' mean, and the sums to report: of the next movie and all members."""
    real = targets > 0
    wanted = _next_targets(targets, max(ahead))[real]
    each = [member[real] for member in logits]
    losses = [_cross_entropy(member, wanted[:, :count]) for member, count in zip(each, ahead, strict=True)]
    loss = torch.stack(losses).mean(0).sum()
    with torch.no_grad():
        together = averaged(torch.stack(each))
        best = together.topk(min(5, together.shape[-1]), dim=-1).indices == wanted[:, :1] - 1
        totals = Totals(float(loss), float(best[:, 0].sum()), float(best.sum()), float(len(wanted)))
    return loss, totals


def _next_targets(targets: Tensor, count: int) -> Tensor:
    """The targets from each place on, int64 (batch, length, count); 0 where a chunk ends."""
    padded = functional.pad(targets, (0, count - 1))
    return padded.unfold(1, count, 1)


def _cross_entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    """Of each row the mean over its wanted movies, float32 (n,); of 0 there is none."""
    if wanted.shape[1] == 1:
        return functional.cross_entropy(logits, wanted[:, 0] - 1, reduction="none")
    there = (wanted > 0).to(logits.dtype)
    likely = logits.log_softmax(-1).gather(1, (wanted - 1).clamp(min=0))
    return -(likely * there).sum(1) / there.sum(1)


def _add(totals: Totals, more: Totals) -> None:
    totals.loss += more.loss
    totals.correct += more.correct
    totals.among_five += more.among_five
    totals.targets += more.targets
