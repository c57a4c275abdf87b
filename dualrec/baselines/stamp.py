"""STAMP: attention over the history's items, queried by their mean and by the last item, which also
enters by itself.

The paper squashes the score of an item, <h_s, h_t, x_i>, with a sigmoid before the softmax of its
loss. That keeps the order of the items, but no item could then be more than e times as likely as
another, so the softmax takes the score itself.
"""

import torch
from torch import Tensor, nn

from dualrec.baselines.baseline import Items, Parameters
from dualrec.baselines.narm import additive_attention
from dualrec.baselines.networks import HistoryBatch, network_baseline


class AttentionMemory(nn.Module):
    """Attention on the last item and the mean of all, and the product of both with every item."""

    def __init__(self, items: Items, parameters: Parameters) -> None:
        super().__init__()
        dimension = int(parameters["dimension"])
        self.item = nn.Embedding(len(items.item_ids) + 1, dimension)
        self.key = nn.Linear(dimension, dimension, bias=False)  # W1
        self.last_query = nn.Linear(dimension, dimension, bias=False)  # W2
        self.mean_query = nn.Linear(dimension, dimension)  # W3, b_a
        self.attention = nn.Parameter(torch.empty(dimension))  # W0
        self.general = nn.Linear(dimension, dimension)  # W_s, b_s
        self.current = nn.Linear(dimension, dimension)  # W_t, b_t
        self._initialise()

    def _initialise(self) -> None:
        """Section 4.1.4 of the paper: weights from N(0, 0.05^2), items from N(0, 0.002^2)."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.normal_(parameter, std=0.002 if name == "item.weight" else 0.05)

    def forward(self, batch: HistoryBatch) -> Tensor:
        """Return states float32 (n, length, d) after each position: h_s * h_t."""
        items = self.item(batch.inputs)
        counts = torch.arange(1, items.shape[1] + 1)[:, None]
        mean = items.cumsum(1) / counts
        query = self.last_query(items) + self.mean_query(mean)
        memory = additive_attention(query, self.key(items), items, self.attention)
        return torch.tanh(self.general(memory)) * torch.tanh(self.current(items))

    def scores(self, states: Tensor) -> Tensor:
        """Return scores float32 (..., N): the trilinear product <h_s, h_t, x_i>."""
        return states @ self.item.weight[1:].T


BASELINE = network_baseline(
    "STAMP",
    "Liu et al. 2018, STAMP: Short-Term Attention/Memory Priority Model for Session-based "
    "Recommendation, KDD",
    {
        "dimension": (100, 50, 200),
        "window": (50, 20, 100),
        "learning_rate": (0.005, 0.001, 0.01),
        "weight_decay": (0.0, 0.1, 1.0),
        "batch_size": (512, 1024, 2048),
    },
    AttentionMemory,
    every_position=True,
)
