"""The paper's network (Li and Grasman 2025), and what goes beyond it. Knows tensors; not users,
files or Ray.

Movie id, title words and genres of each movie are embedded, joined to 256 features, and read by two
LSTM layers; a dense layer and a softmax over the items follow. Unlike the paper's, it predicts
after every movie, not only the last.
"""

import numpy as np
import torch
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
        """States float32 (batch, length, hidden[1]) after each movie."""
        present, place = torch.unique(numbers, return_inverse=True)
        states, _ = self.first_lstm(self.dropout(self._item_vectors(present)[place]))
        states, _ = self.second_lstm(self.dropout(states))
        return torch.as_tensor(states)

    def score(self, states: Tensor, items: Tensor | None = None) -> Tensor:
        """Logits float32 (..., N) of states float32 (..., hidden[1]).

        Where weights are tied, an item is scored by the same vector that stands for it in a history
        (Press and Wolf
        2017), so that what its title and genres tell counts for the choice too.

        Args:
            items: what `scored_by` gave since the weights were last changed; None to have it
                computed.
        """
        queries = self.queries(states)
        if self.tied:
            vectors = self.scored_by() if items is None else items
            return queries @ torch.as_tensor(vectors).T + self.bias
        return torch.as_tensor(self.output(queries))

    def queries(self, states: Tensor) -> Tensor:
        """What is compared with each item, float32 (..., width), after states float32 (...,
        hidden[1])."""
        dense = self.dense(states)
        return torch.as_tensor(self.dropout(dense if self.tied else torch.relu(dense)))

    def scorer(self, places: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The vectors float32 (m, width) and the biases float32 (m,): an item's logit is query x
        vector + bias.

        Args:
            places: the columns of logits that are wanted, int64 (m,) from 0; None for all.
        """
        if self.tied:
            numbers = (
                torch.arange(len(self.bias), device=self.bias.device) if places is None else places
            )
            vectors = torch.cat(
                [self._item_vectors(some + 1) for some in numbers.split(ITEMS_AT_A_TIME)]
            )
            return vectors, self.bias if places is None else self.bias[places]
        if places is None:
            return self.output.weight, self.output.bias
        return functional.embedding(places, self.output.weight), self.output.bias[places]

    def scored_by(self) -> Tensor | None:
        """The vectors float32 (N, width) that score the items, where weights are tied: the same for
        every history."""
        return self.scorer()[0] if self.tied else None

    def _item_vectors(self, numbers: Tensor) -> Tensor:
        """The joined features of items: float32 (n, item + title + genre dimension). Each item is
        looked up once."""
        words = torch.as_tensor(self.title_words)[numbers]
        known = (words > 0).unsqueeze(-1).to(self.word_embedding.weight.dtype)
        titles = (self.word_embedding(words) * known).sum(1) / known.sum(1).clamp(min=1)
        genres = torch.relu(self.genre_layer(torch.as_tensor(self.genres)[numbers]))
        return torch.cat([self.item_embedding(numbers), titles, genres], dim=-1)
