"""The loss of a batch of chunks, of every member at every target, among all items or a sample.

Comes in: item numbers. Goes out: a loss to differentiate, and sums to report. Knows tensors; not
Ray.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dualrec.config.settings import SequenceSettings
from dualrec.sequence.negatives import (
    sample_items,
    sampled_losses,
    sampled_softmax,
    sampling_distribution,
)
from dualrec.sequence.network import SequenceEnsemble, SequenceNetwork
from dualrec.sequence.softmax import LogitFactors, full_softmax, losses_and_probabilities


class EnsembleLoss(nn.Module):
    """An ensemble and its loss in one module: DDP requires all weights to be used in one call.

    Sampled items and bfloat16 are for training alone: an evaluation is exact.

    Args:
        counts: int64 (N,), how often each item is a target; required with negatives.
    """

    def __init__(
        self,
        ensemble: SequenceEnsemble,
        settings: SequenceSettings,
        counts: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        self.ensemble = ensemble
        self.future_targets, self.negatives = settings.future_targets, settings.negatives
        self.dtype = torch.bfloat16 if settings.dtype == "bfloat16" else torch.float32
        if self.negatives:
            assert counts is not None, "negatives are sampled by how often items are watched"
            distribution = torch.from_numpy(sampling_distribution(counts, settings.negatives_power))
            self.register_buffer("distribution", distribution, persistent=False)
        self.pieces = (losses_and_probabilities, sampled_losses)
        if settings.resources.compile:
            self.pieces = tuple(torch.compile(piece, dynamic=True) for piece in self.pieces)

    def forward(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss () summed over real targets, the members' mean, and the first sums of an
        EpochTotals, float64 (5,).

        Args:
            inputs, targets: int64 (batch, length), item numbers; a target 0 pads.
        """
        real = targets > 0
        following = next_targets(targets, max(self.future_targets))[real]
        lower = self.training and self.dtype != torch.float32
        with (
            torch.autocast(inputs.device.type, torch.bfloat16, enabled=lower),
            _lstm_backend(inputs.device, lower),
        ):
            queries = [member.queries(member.encode(inputs)[real]) for member in self._members]
        if self.training and self.negatives:
            sampled = sample_items(cast(Tensor, self.distribution), self.negatives, following)
            loss = sampled_softmax(
                self._scored(queries, sampled.items), following, sampled, self.pieces[1]
            )
            return loss, self._sums(loss, len(following), loss.new_zeros(2), 0)
        loss, hits = full_softmax(self._scored(queries, None), following, self.pieces[0])
        return loss, self._sums(loss, len(following), hits, len(following))

    def _scored(self, queries: Sequence[Tensor], items: Tensor | None) -> list[LogitFactors]:
        members = zip(self._members, queries, self.future_targets, strict=True)
        return [
            LogitFactors(own, *member.output_weights(items), count)
            for member, own, count in members
        ]

    @property
    def _members(self) -> list[SequenceNetwork]:
        return [cast(SequenceNetwork, member) for member in self.ensemble.members]

    @staticmethod
    def _sums(loss: Tensor, targets: int, hits: Tensor, ranked: int) -> Tensor:
        counts = torch.tensor([targets, ranked], device=loss.device, dtype=torch.float64)
        return torch.cat([loss.detach().double()[None], hits.double(), counts])


def _lstm_backend(device: torch.device, lower: bool) -> AbstractContextManager[None]:
    """Return a context in which an LSTM runs on this device.

    oneDNN has an LSTM in bfloat16 for some processors alone and fails on others; PyTorch's own
    runs there, in float32.
    """
    if lower and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return cast("AbstractContextManager[None]", torch.backends.mkldnn.flags(enabled=False))
    return nullcontext()


def next_targets(targets: Tensor, count: int) -> Tensor:
    """Return the targets from each position on, int64 (batch, length, count); 0 after a chunk's
    end."""
    padded = functional.pad(targets, (0, count - 1))
    return padded.unfold(1, count, 1)
