"""SASRec: self-attention over the history, scored against the items' own embeddings, trained with
the full softmax.

The paper trains with one sampled negative; with the softmax over all items it is far stronger
(Klenitskiy and Vasilev 2023, "Turning Dross Into Gold Loss").
"""

import torch
from torch import Tensor, nn

from dualrec.baselines.baseline import Items, Parameters
from dualrec.baselines.networks import HistoryBatch, network_baseline


class SelfAttention(nn.Module):
    """Embeddings of items and positions, causal blocks, the dot product with every item."""

    def __init__(self, items: Items, parameters: Parameters) -> None:
        super().__init__()
        dimension, dropout = int(parameters["dimension"]), float(parameters["dropout"])
        self.item = nn.Embedding(len(items.item_ids) + 1, dimension)
        self.place = nn.Embedding(int(parameters["window"]), dimension)
        for embedding in (self.item, self.place):
            nn.init.normal_(embedding.weight, std=0.02)
        self.dropout = nn.Dropout(dropout)
        block = nn.TransformerEncoderLayer(
            dimension,
            int(parameters["heads"]),
            dimension,
            dropout,
            batch_first=True,
            norm_first=True,
        )
        blocks = int(parameters["blocks"])
        self.blocks = nn.TransformerEncoder(
            block, blocks, nn.LayerNorm(dimension), enable_nested_tensor=False
        )

    def forward(self, batch: HistoryBatch) -> Tensor:
        """Return states float32 (n, length, d) after each position."""
        length = batch.inputs.shape[1]
        states = self.dropout(
            self.item(batch.inputs) * self.item.embedding_dim**0.5 + self.place.weight[:length]
        )
        future = nn.Transformer.generate_square_subsequent_mask(length)
        return torch.as_tensor(self.blocks(states, mask=future, is_causal=True))

    def scores(self, states: Tensor) -> Tensor:
        """Return scores float32 (..., N)."""
        return states @ self.item.weight[1:].T


BASELINE = network_baseline(
    "SASRec",
    "Kang and McAuley 2018, Self-Attentive Sequential Recommendation, ICDM",
    {
        "dimension": (50, 64, 128),
        "blocks": (2, 1, 3),
        "heads": (1, 2),
        "dropout": (0.2, 0.3, 0.5),
        "window": (200, 100, 50),
        "learning_rate": (0.001, 0.0005, 0.002),
        "weight_decay": (0.0, 0.01),
        "batch_size": (3200, 1600, 6400),
    },
    SelfAttention,
    every_position=True,
)
