"""NARM: a GRU over the history, its last state beside an attention over all its states, scored by a
bilinear decoder.

The paper shows every item of a session as a target of those before it; here all of them are
computed in one pass.
"""

import torch
from torch import Tensor, nn

from dualrec.baselines.baseline import Items, Parameters
from dualrec.baselines.networks import HistoryBatch, network_baseline


def additive_attention(queries: Tensor, keys: Tensor, values: Tensor, weight: Tensor) -> Tensor:
    """Sum values over i <= t of (weight . sigmoid(query_t + key_i)) value_i; the weights are not
    normalised.

    Args:
        queries: float32 (n, length, d).
        keys: float32 (n, length, d).
        values: float32 (n, length, e).
        weight: float32 (d,).

    Returns:
        float32 (n, length, e); position t depends on nothing after t.
    """
    # One position at a time: the hidden layer is then (n, t, d), not (n, length, length, d), and no
    # future is computed.
    sums = []
    for position in range(queries.shape[1]):
        hidden = torch.sigmoid(queries[:, position, None] + keys[:, : position + 1])
        attention = hidden @ weight
        sums.append((attention[:, None] @ values[:, : position + 1])[:, 0])
    return torch.stack(sums, dim=1)


class AttentiveRecurrence(nn.Module):
    """Global encoder, local encoder, their concatenation and the bilinear decoder."""

    def __init__(self, items: Items, parameters: Parameters) -> None:
        super().__init__()
        dimension, hidden = int(parameters["dimension"]), int(parameters["hidden"])
        self.item = nn.Embedding(len(items.item_ids) + 1, dimension)
        nn.init.normal_(self.item.weight, std=0.02)
        self.item_dropout = nn.Dropout(float(parameters["item_dropout"]))
        self.recurrence = nn.GRU(dimension, hidden, batch_first=True)
        self.query = nn.Linear(hidden, hidden, bias=False)  # A1
        self.key = nn.Linear(hidden, hidden, bias=False)  # A2
        self.attention = nn.Parameter(torch.randn(hidden) / hidden**0.5)  # v
        self.context_dropout = nn.Dropout(float(parameters["context_dropout"]))
        self.decoder = nn.Linear(2 * hidden, dimension, bias=False)  # B

    def forward(self, batch: HistoryBatch) -> Tensor:
        """Return states float32 (n, length, d) after each position: B c_t, with c_t = [c_global;
        c_local]."""
        states, _ = self.recurrence(self.item_dropout(self.item(batch.inputs)))
        local = additive_attention(self.query(states), self.key(states), states, self.attention)
        return torch.as_tensor(
            self.decoder(self.context_dropout(torch.cat([states, local], dim=-1)))
        )

    def scores(self, states: Tensor) -> Tensor:
        """Return scores float32 (..., N): emb_i^T B c."""
        return states @ self.item.weight[1:].T


BASELINE = network_baseline(
    "NARM",
    "Li et al. 2017, Neural Attentive Session-based Recommendation, CIKM",
    {
        "dimension": (50, 100),
        "hidden": (100, 50),
        "item_dropout": (0.25, 0.1),
        "context_dropout": (0.5, 0.25),
        "window": (19, 50, 100),  # the paper cuts its recurrence at 19 steps
        "learning_rate": (0.001, 0.0005, 0.002),
        "weight_decay": (0.0, 0.01),
        "batch_size": (512, 1024, 2048),
    },
    AttentiveRecurrence,
    every_position=True,
)
