"""MCPRN: every item is routed to channels, one for each purpose, and each channel remembers its own
items.

A candidate is scored by the mixture of the channels that it would be routed to itself. The paper's
loss draws negative items; the harness takes the softmax over all of them.
"""

import torch
from torch import Tensor, nn

from dualrec.baselines.baseline import Items, Parameters
from dualrec.baselines.networks import HistoryBatch, network_baseline

THRESHOLD = 0.01  # of the paper: an item leaves the channels alone where it has less weight


class PurposeRecurrence(nn.Module):
    """The purpose-specific recurrent units (PSRU) of all channels: GRUs that an item moves by its
    weight there."""

    def __init__(self, channels: int, dimension: int) -> None:
        super().__init__()
        # Channels come first: one batched product then serves all of them.
        self.from_item = nn.Parameter(torch.empty(channels, dimension, 3 * dimension))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 3 * dimension))
        self.to_gates = nn.Parameter(torch.empty(channels, dimension, 2 * dimension))
        self.to_candidate = nn.Parameter(torch.empty(channels, dimension, dimension))
        for weight in (self.from_item, self.to_gates, self.to_candidate):
            nn.init.uniform_(weight, -(dimension**-0.5), dimension**-0.5)

    def forward(self, items: Tensor, concentration: Tensor) -> Tensor:
        """Return channel states float32 (n, length, channels, d) after each position.

        Args:
            items: float32 (n, length, d).
            concentration: float32 (n, length, channels), from 0 to 1.
        """
        rows, length, dimension = items.shape
        moves = torch.where(concentration >= THRESHOLD, concentration, 0.0).permute(1, 2, 0)[
            ..., None
        ]
        from_items = torch.einsum("nld,kde->lkne", items, self.from_item) + self.bias
        state = items.new_zeros(len(self.bias), rows, dimension)
        states = []
        for position in range(length):
            gates, candidate = from_items[position].split([2 * dimension, dimension], dim=-1)
            reset, update = torch.sigmoid(gates + state @ self.to_gates).chunk(2, dim=-1)
            candidate = torch.tanh(candidate + (reset * state) @ self.to_candidate)
            state = torch.lerp(state, candidate, moves[position] * update)
            states.append(state)
        return torch.stack(states).permute(2, 0, 1, 3)


class PurposeChannels(nn.Module):
    """Purpose router, recurrent channels, and their mixture for each candidate."""

    def __init__(self, items: Items, parameters: Parameters) -> None:
        super().__init__()
        dimension, channels = int(parameters["dimension"]), int(parameters["channels"])
        self.temperature = float(parameters["temperature"])
        self.item = nn.Embedding(len(items.item_ids) + 1, dimension)
        self.purpose = nn.Parameter(torch.empty(channels, dimension))
        for vectors in (self.item.weight, self.purpose):
            nn.init.uniform_(vectors, -(dimension**-0.5), dimension**-0.5)
        self.channels = PurposeRecurrence(channels, dimension)

    def route(self, vectors: Tensor) -> Tensor:
        """The weight of items (..., d) in each channel: float32 (..., channels), with sum 1."""
        return torch.softmax(vectors @ self.purpose.T / self.temperature, dim=-1)

    def forward(self, batch: HistoryBatch) -> Tensor:
        """Return states float32 (n, length, channels, d) after each position."""
        items = self.item(batch.inputs)
        return torch.as_tensor(self.channels(items, self.route(items)))

    def scores(self, states: Tensor) -> Tensor:
        """Return scores float32 (..., N) of states (..., channels, d): v_i . (sum over k of
        route(v_i)_k h_k)."""
        candidates = self.item.weight[1:]
        routed = self.route(candidates)[:, :, None] * candidates[:, None]
        return states.flatten(-2) @ routed.flatten(1).T


BASELINE = network_baseline(
    "MCPRN",
    "Wang et al. 2019, Modeling Multi-Purpose Sessions for Next-Item Recommendations via "
    "Mixture-Channel Purpose Routing Networks, IJCAI",
    {
        "dimension": (128, 64),
        "channels": (3, 2, 4),
        "temperature": (0.1, 0.5, 1.0),
        "window": (50, 20, 100),
        "learning_rate": (0.001, 0.002, 0.003),
        "weight_decay": (0.0, 0.01, 0.1),
        "batch_size": (2500, 1250, 5000),  # the paper's 50 sessions, of a window each
    },
    PurposeChannels,
    every_position=True,
)
