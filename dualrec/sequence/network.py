"""The sequence model: the paper's network (Li and Grasman 2025), and an ensemble of them.

Comes in: item numbers. Goes out: logits of every item. Knows tensors; not users, histories or Ray.

Movie id, title words and genres of each movie are embedded, joined to 256 features, and read by two
LSTM layers; a dense layer and a softmax over the items follow. Unlike the paper's, it predicts
after every movie, not only the last. The probabilities of an ensemble's members are averaged.
"""

import math
from pathlib import Path
from typing import cast

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from dualrec.config.settings import MemberSettings, SequenceSettings
from dualrec.sequence.features import ItemFeatures

ITEMS_AT_A_TIME = 8192  # whose titles' words are held at once, 20 MiB


class SequenceNetwork(nn.Module):
    """Scores of the next item after each movie of a history."""

    def __init__(
        self, features: ItemFeatures, settings: SequenceSettings, member: MemberSettings
    ) -> None:
        super().__init__()
        items, genres = len(features.item_ids), features.genres.shape[1]
        first, second = settings.hidden
        width = settings.item_dimension + settings.title_dimension + settings.genre_dimension
        self.register_buffer("item_ids", torch.from_numpy(np.array(features.item_ids)))
        self.register_buffer("title_words", torch.from_numpy(features.title_words))
        self.register_buffer("genres", torch.from_numpy(features.genres))
        self.item_embedding = nn.Embedding(items + 1, settings.item_dimension)
        self.word_embedding = nn.Embedding(
            settings.title_vocabulary, settings.title_dimension, padding_idx=0
        )
        self.genre_layer = nn.Linear(genres, settings.genre_dimension)
        self.first_lstm = nn.LSTM(width, first, batch_first=True)
        self.second_lstm = nn.LSTM(first, second, batch_first=True)
        self.tied = member.tied
        self.dense = nn.Linear(second, width if self.tied else settings.dense)
        if self.tied:
            self.bias = nn.Parameter(torch.zeros(items))
        else:
            self.output = nn.Linear(settings.dense, items)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, numbers: Tensor) -> Tensor:
        """Score every item after each movie.

        Args:
            numbers: int64 (batch, length), item numbers from 0 (start).

        Returns:
            Logits float32 (batch, length, N); column i is the item with number i + 1.
        """
        return self.score(self.encode(numbers))

    def encode(self, numbers: Tensor) -> Tensor:
        """Return the states float32 (batch, length, hidden[1]) after each movie."""
        present, position = torch.unique(numbers, return_inverse=True)
        states, _ = self.first_lstm(self.dropout(self._item_vectors(present)[position]))
        states, _ = self.second_lstm(self.dropout(states))
        return torch.as_tensor(states)

    def score(self, states: Tensor, items: Tensor | None = None) -> Tensor:
        """Return the logits float32 (..., N) of states float32 (..., hidden[1]).

        Where weights are tied, an item is scored by the same vector that stands for it in a history
        (Press and Wolf
        2017), so that its title and genres count for the choice too.

        Args:
            items: from `tied_item_vectors`, with the current weights; None to compute them here.
        """
        queries = self.queries(states)
        if self.tied:
            vectors = self.tied_item_vectors() if items is None else items
            return queries @ torch.as_tensor(vectors).T + self.bias
        return torch.as_tensor(self.output(queries))

    def queries(self, states: Tensor) -> Tensor:
        """Return the queries float32 (..., width) that are compared with each item, of states
        float32 (..., hidden[1])."""
        dense = self.dense(states)
        return torch.as_tensor(self.dropout(dense if self.tied else torch.relu(dense)))

    def output_weights(self, columns: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return vectors float32 (m, width) and biases float32 (m,): an item's logit is query x
        vector + bias.

        Args:
            columns: the items to return, int64 (m,) columns of logits from 0; None for all.
        """
        if self.tied:
            if columns is None:
                selected, bias = torch.arange(len(self.bias), device=self.bias.device), self.bias
            else:
                selected, bias = columns, self.bias[columns]
            pieces = [self._item_vectors(part + 1) for part in selected.split(ITEMS_AT_A_TIME)]
            return torch.cat(pieces), bias
        if columns is None:
            return self.output.weight, self.output.bias
        return functional.embedding(columns, self.output.weight), self.output.bias[columns]

    def tied_item_vectors(self) -> Tensor | None:
        """Return the vectors float32 (N, width) that score the items where weights are tied, the
        same for every history; None where they are not tied."""
        return self.output_weights()[0] if self.tied else None

    def _item_vectors(self, numbers: Tensor) -> Tensor:
        """Return the joined features float32 (n, item + title + genre dimension) of item numbers
        int64 (n,)."""
        words = torch.as_tensor(self.title_words)[numbers]
        present = (words > 0).unsqueeze(-1).to(self.word_embedding.weight.dtype)
        titles = (self.word_embedding(words) * present).sum(1) / present.sum(1).clamp(min=1)
        genres = torch.relu(self.genre_layer(torch.as_tensor(self.genres)[numbers]))
        return torch.cat([self.item_embedding(numbers), titles, genres], dim=-1)


class SequenceEnsemble(nn.Module):
    """Networks whose probabilities are averaged.

    Each has its own initial weights and its own number of future targets.
    """

    def __init__(self, features: ItemFeatures, settings: SequenceSettings) -> None:
        super().__init__()
        self.members = nn.ModuleList(
            SequenceNetwork(features, settings, member) for member in settings.members
        )

    def forward(self, numbers: Tensor) -> Tensor:
        """Return logits float32 (members, batch, length, N) after each movie.

        Args:
            numbers: int64 (batch, length), item numbers.
        """
        return torch.stack([member(numbers) for member in self.members])

    def next_logits(self, numbers: Tensor, last: Tensor) -> Tensor:
        """Return logits float32 (members, batch, N) after position `last`, int64 (batch,), of each
        row of item numbers."""
        states = self.last_states(numbers, last)
        return torch.stack(
            [member.score(state) for member, state in zip(self.members, states, strict=True)]
        )

    def last_states(self, numbers: Tensor, last: Tensor) -> Tensor:
        """Return states float32 (members, batch, hidden[1]) after position `last`, int64 (batch,),
        of each row of item numbers."""
        rows = torch.arange(len(last), device=last.device)
        return torch.stack([member.encode(numbers)[rows, last] for member in self.members])

    @property
    def features(self) -> ItemFeatures:
        """Return the features of the items that it was trained with."""
        first = cast(SequenceNetwork, self.members[0])
        buffers = (first.item_ids, first.title_words, first.genres)
        return ItemFeatures(*(cast(Tensor, buffer).cpu().numpy() for buffer in buffers))


def mean_log_probabilities(logits: Tensor) -> Tensor:
    """Return the log of the members' mean probabilities, float32 (..., N).

    Args:
        logits: float32 (members, ..., N).
    """
    if len(logits) == 1:
        return logits[0].log_softmax(-1)
    return logits.log_softmax(-1).logsumexp(0) - math.log(len(logits))


def cpu_weights(ensemble: nn.Module) -> dict[str, Tensor]:
    """Copy weights and item features to the CPU; no two share memory, as safetensors requires."""
    return {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in ensemble.state_dict().items()
    }


def save_ensemble(ensemble: SequenceEnsemble, path: Path) -> None:
    """Write weights and item features to a safetensors file."""
    save_file(cpu_weights(ensemble), path)


def load_ensemble(path: Path, settings: SequenceSettings) -> SequenceEnsemble:
    """Read an ensemble that `save_ensemble` wrote, with the settings that it was trained with."""
    state = load_file(path)
    names = ("item_ids", "title_words", "genres")
    ensemble = SequenceEnsemble(
        ItemFeatures(*(state[f"members.0.{name}"].numpy() for name in names)), settings
    )
    ensemble.load_state_dict(state)
    return ensemble
