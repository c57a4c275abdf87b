"""The loss of a batch of chunks, of every network at every target: among all items or a sample.
Knows tensors; not Ray."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dualrec.config.settings import SequenceSettings
from dualrec.sequence.ensemble import SequenceEnsemble
from dualrec.sequence.negatives import chances, draw, sampled_losses, sampled_softmax
from dualrec.sequence.network import SequenceNetwork
from dualrec.sequence.softmax import Scored, full_softmax, losses_and_probabilities


class SummedLoss(nn.Module):
    """An ensemble and its loss in one module, so that DDP sees all of the networks' weights used in
    one call.

    A sample of the items and another arithmetic than float32 are for training: an evaluation is
        exact.

    Args:
        counts: int64 (N,), how often each item is watched; read where negatives are drawn.
    """

    def __init__(
        self,
        ensemble: SequenceEnsemble,
        settings: SequenceSettings,
        counts: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        self.ensemble = ensemble
        self.ahead, self.negatives = settings.ahead, settings.negatives
        self.dtype = torch.bfloat16 if settings.dtype == "bfloat16" else torch.float32
        if self.negatives:
            assert counts is not None, "negatives are drawn by how often items are watched"
            chance = torch.from_numpy(chances(counts, settings.negatives_power))
            self.register_buffer("chance", chance, persistent=False)
        self.pieces = (losses_and_probabilities, sampled_losses)
        if settings.resources.compile:
            self.pieces = tuple(torch.compile(piece, dynamic=True) for piece in self.pieces)

    def forward(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The loss () summed over real targets, the members' mean; and float64 (5,), what a Totals
        counts.

        Args:
            inputs, targets: int64 (batch, length), item numbers; a target 0 pads.
        """
        real = targets > 0
        wanted = next_targets(targets, max(self.ahead))[real]
        lower = self.training and self.dtype != torch.float32
        with (
            torch.autocast(inputs.device.type, torch.bfloat16, enabled=lower),
            _lstm_there_is(inputs.device, lower),
        ):
            queries = [member.queries(member.encode(inputs)[real]) for member in self._members]
        if self.training and self.negatives:
            drawn = draw(cast(Tensor, self.chance), self.negatives, wanted)
            loss = sampled_softmax(
                self._scored(queries, drawn.items), wanted, drawn, self.pieces[1]
            )
            return loss, self._sums(loss, len(wanted), loss.new_zeros(2), 0)
        loss, hits = full_softmax(self._scored(queries, None), wanted, self.pieces[0])
        return loss, self._sums(loss, len(wanted), hits, len(wanted))

    def _scored(self, queries: Sequence[Tensor], items: Tensor | None) -> list[Scored]:
        each = zip(self._members, queries, self.ahead, strict=True)
        return [Scored(own, *member.scorer(items), ahead) for member, own, ahead in each]

    @property
    def _members(self) -> list[SequenceNetwork]:
        return [cast(SequenceNetwork, member) for member in self.ensemble.members]

    @staticmethod
    def _sums(loss: Tensor, targets: int, hits: Tensor, ranked: int) -> Tensor:
        counts = torch.tensor([targets, ranked], device=loss.device, dtype=torch.float64)
        return torch.cat([loss.detach().double()[None], hits.double(), counts])


def _lstm_there_is(device: torch.device, lower: bool) -> AbstractContextManager[None]:
    """oneDNN has an LSTM in bfloat16 for some processors alone, and fails on others: there
    PyTorch's own runs, in float32."""
    if lower and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return cast("AbstractContextManager[None]", torch.backends.mkldnn.flags(enabled=False))
    return nullcontext()


def next_targets(targets: Tensor, count: int) -> Tensor:
    """The targets from each place on, int64 (batch, length, count); 0 where a chunk ends."""
    padded = functional.pad(targets, (0, count - 1))
    return padded.unfold(1, count, 1)
