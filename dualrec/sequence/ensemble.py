"""One network or several, each trained to foresee so many of the next movies; their probabilities
are averaged.

Knows tensors; not users, files of histories or Ray.
"""

import math
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dualrec.config.settings import SequenceSettings
from dualrec.sequence.features import ItemFeatures
from dualrec.sequence.network import SequenceNetwork


class SequenceEnsemble(nn.Module):
    """The members: each with so many movies to foresee, and with its own first weights."""

    def __init__(self, features: ItemFeatures, settings: SequenceSettings) -> None:
        super().__init__()
        self.members = nn.ModuleList(
            SequenceNetwork(features, settings, member) for member in settings.members
        )

    def forward(self, numbers: Tensor) -> Tensor:
        """Logits float32 (members, batch, length, N) after each movie of item numbers int64 (batch,
        length)."""
        return torch.stack([member(numbers) for member in self.members])

    def next_logits(self, numbers: Tensor, last: Tensor) -> Tensor:
        """Logits float32 (members, batch, N) after the place `last`, int64 (batch,), of each row of
        item numbers."""
        states = self.last_states(numbers, last)
        return torch.stack(
            [member.score(state) for member, state in zip(self.members, states, strict=True)]
        )

    def last_states(self, numbers: Tensor, last: Tensor) -> Tensor:
        """States float32 (members, batch, hidden[1]) after the place `last`, int64 (batch,), of
        each row of numbers."""
        rows = torch.arange(len(last), device=last.device)
        return torch.stack([member.encode(numbers)[rows, last] for member in self.members])

    @property
    def features(self) -> ItemFeatures:
        """The items that it knows."""
        first = cast(SequenceNetwork, self.members[0])
        buffers = (first.item_ids, first.title_words, first.genres)
        return ItemFeatures(*(cast(Tensor, buffer).cpu().numpy() for buffer in buffers))


def averaged(logits: Tensor) -> Tensor:
    """The log of the members' mean probabilities, float32 (..., N), of their logits float32
    (members, ..., N)."""
    if len(logits) == 1:
        return logits[0].log_softmax(-1)
    return logits.log_softmax(-1).logsumexp(0) - math.log(len(logits))


def weights_of(ensemble: nn.Module) -> dict[str, Tensor]:
    """A copy of its weights and item features on the CPU, of which no two share memory, as
    safetensors wants them."""
    return {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in ensemble.state_dict().items()
    }


def save_ensemble(ensemble: SequenceEnsemble, path: Path) -> None:
    """Write weights and item features to a safetensors file."""
    save_file(weights_of(ensemble), path)


def load_ensemble(path: Path, settings: SequenceSettings) -> SequenceEnsemble:
    """Read an ensemble that `save_ensemble` wrote, with the settings that it was trained with."""
    state = load_file(path)
    names = ("item_ids", "title_words", "genres")
    ensemble = SequenceEnsemble(
        ItemFeatures(*(state[f"members.0.{name}"].numpy() for name in names)), settings
    )
    ensemble.load_state_dict(state)
    return ensemble
