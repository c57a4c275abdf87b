"""Atten-Mixer: the last one, two, three ... items query the history by attention, each level apart.

Comes in: the inputs of a history. Goes out: its state. There is no graph, and no order but that of
the levels.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from dualrec.baselines.baseline import Items, Parameters
from dualrec.baselines.networks import HistoryBatch, network_baseline

SCALE = 16  # of the cosine that scores an item


class AttentionMixture(nn.Module):
    """Queries of several levels, attention of each, pooled to one weight for each position."""

    def __init__(self, items: Items, parameters: Parameters) -> None:
        super().__init__()
        dimension, levels = int(parameters["dimension"]), int(parameters["levels"])
        self.heads, self.power = int(parameters["heads"]), int(parameters["pooling_power"])
        self.item = nn.Embedding(len(items.item_ids) + 1, dimension)
        self.levels = nn.ModuleList(nn.Linear(dimension, dimension) for _ in range(levels))
        self.key = nn.Linear(dimension, dimension)
        self.value = nn.Linear(dimension, dimension)
        self.normed = nn.LayerNorm(dimension)
        self.join = nn.Linear(2 * dimension, dimension)
        self.dropout = nn.Dropout(float(parameters["dropout"]))
        nn.init.uniform_(self.item.weight, -(dimension**-0.5), dimension**-0.5)

    def forward(self, batch: HistoryBatch) -> Tensor:
        """Return unit states float32 (n, d)."""
        embedded = self.dropout(functional.normalize(self.item(batch.inputs), dim=2))
        real = torch.arange(batch.inputs.shape[1]) < batch.size[:, None]
        sums = last_sums(embedded, batch.size, len(self.levels))
        level_queries = torch.stack(
            [level(sums[:, index]) for index, level in enumerate(self.levels)], dim=1
        )
        queries, keys, values = (
            self._heads(part) for part in (level_queries, self.key(embedded), self.value(embedded))
        )
        likeness = queries @ keys.transpose(2, 3) / math.sqrt(keys.shape[3])
        attention = likeness.masked_fill(~real[:, None, None], -torch.inf).softmax(3)
        mixed = (self.dropout(pooled(attention, self.power))[:, :, None] @ values).flatten(1)
        last = embedded[torch.arange(len(embedded)), batch.size - 1]
        return functional.normalize(self.join(torch.cat([self.normed(mixed), last], dim=1)), dim=1)

    def scores(self, states: Tensor) -> Tensor:
        """Return scores float32 (..., N)."""
        return SCALE * states @ self.dropout(functional.normalize(self.item.weight[1:], dim=1)).T

    def _heads(self, states: Tensor) -> Tensor:
        """(n, rows, d) as (n, heads, rows, d / heads)."""
        return states.unflatten(2, (self.heads, -1)).transpose(1, 2)


def last_sums(states: Tensor, size: Tensor, levels: int) -> Tensor:
    """Return for each level l from 1 the sum of a history's last l states, or of all where there
    are fewer.

    A sum ignores the order of the last items: the paper's local invariance.

    Args:
        states: float32 (n, length, d), padded at the end.
        size: int64 (n,), how many states each row has.

    Returns:
        float32 (n, levels, d).
    """
    back = size[:, None, None] - torch.arange(states.shape[1])
    among = (back >= 1) & (back <= torch.arange(1, levels + 1)[:, None])
    return among.to(states.dtype) @ states


def pooled(attention: Tensor, power: int) -> Tensor:
    """Pool over the levels by the Lp norm, (..., levels, keys) to (..., keys), with sums of 1."""
    together = attention.pow(power).sum(-2).clamp(min=1e-30).pow(1 / power)
    return together / together.sum(-1, keepdim=True)


BASELINE = network_baseline(
    "Atten-Mixer",
    "Zhang et al. 2023, Efficiently Leveraging Multi-level User Intent for Session-based "
    "Recommendation via Atten-Mixer Network, WSDM",
    {
        "dimension": (256, 128),
        "levels": (7, 3, 5, 9),
        "heads": (8, 4),
        "pooling_power": (4, 2),
        "dropout": (0.1, 0.3),
        "window": (20, 10, 50),
        "learning_rate": (0.001, 0.0005),
        "weight_decay": (1e-5, 0.1),
        "batch_size": (100,),
    },
    AttentionMixture,
    every_position=False,
)
