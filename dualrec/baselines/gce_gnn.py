"""GCE-GNN: each item of a history seen in two graphs, its own and that of all histories, then read
out by attention.

Comes in: the inputs of a history. Goes out: its state. The graph of all histories is built once
from those of training users; one hop of it is read, as in the paper for two of its three data sets.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from dualrec.baselines.baseline import Histories, Items, Parameters
from dualrec.baselines.graphs import LEAKY_SLOPE, SessionNodes, global_graph, session_nodes
from dualrec.baselines.networks import HistoryBatch, network_baseline

MAX_GAP = 3  # between the positions of two items that are neighbours
NEIGHBOURS = 12  # of each item
SELF, INTO, OUT, BOTH = range(4)


class GlobalContextGraph(nn.Module):
    """Session graph and global graph, their sum, and a readout that knows how long ago each
    position was."""

    neighbours: Tensor  # int64 (N + 1, NEIGHBOURS)
    weights: Tensor  # float32 (N + 1, NEIGHBOURS); 0 where there is no neighbour

    def __init__(self, items: Items, parameters: Parameters) -> None:
        super().__init__()
        dimension, rows = int(parameters["dimension"]), len(items.item_ids) + 1
        self.register_buffer("neighbours", torch.zeros(rows, NEIGHBOURS, dtype=torch.int64))
        self.register_buffer("weights", torch.zeros(rows, NEIGHBOURS))
        self.item = nn.Embedding(rows, dimension)
        self.place = nn.Embedding(int(parameters["window"]), dimension)
        self.relation = nn.Parameter(torch.empty(4, dimension))
        self.near = nn.Linear(dimension, dimension, bias=False)
        self.near_weight = nn.Parameter(torch.empty(dimension))
        self.near_score = nn.Linear(dimension, 1, bias=False)
        self.join = nn.Linear(2 * dimension, dimension, bias=False)
        self.placed = nn.Linear(2 * dimension, dimension)
        self.of_place = nn.Linear(dimension, dimension)
        self.of_session = nn.Linear(dimension, dimension, bias=False)
        self.readout = nn.Linear(dimension, 1, bias=False)
        for weight in self.parameters():
            nn.init.uniform_(weight, -(dimension**-0.5), dimension**-0.5)
        self.join_dropout = nn.Dropout(float(parameters["join_dropout"]))
        self.local_dropout = nn.Dropout(float(parameters["local_dropout"]))
        self.global_dropout = nn.Dropout(float(parameters["global_dropout"]))

    def prepare(self, training: Histories) -> None:
        """Build the graph of all histories."""
        neighbours, weights = global_graph(training, len(self.neighbours) - 1, MAX_GAP, NEIGHBOURS)
        self.neighbours.copy_(torch.from_numpy(neighbours))
        self.weights.copy_(torch.from_numpy(weights))

    def forward(self, batch: HistoryBatch) -> Tensor:
        """Return states float32 (n, d)."""
        nodes = session_nodes(batch.inputs, batch.size)
        embedded = self.item(batch.inputs)
        states = self.local_dropout(self._local(embedded, nodes))
        states = states + self.global_dropout(self._global(batch.inputs, embedded, nodes))
        last_first = (batch.size[:, None] - 1 - torch.arange(batch.inputs.shape[1])).clamp(min=0)
        placed = torch.tanh(self.placed(torch.cat([states, self.place(last_first)], dim=2)))
        session = _mean(states, nodes.real)[:, None]
        attention = self.readout(torch.sigmoid(self.of_place(placed) + self.of_session(session)))
        return torch.as_tensor((attention * nodes.real[:, :, None] * states).sum(1))

    def scores(self, states: Tensor) -> Tensor:
        """Return scores float32 (..., N)."""
        return states @ self.item.weight[1:].T

    def _local(self, embedded: Tensor, nodes: SessionNodes) -> Tensor:
        """Return attention of each position over the items beside its own: float32 (n, length,
        d)."""
        kind, beside = relations(nodes)
        scores = (embedded[:, None] * self.relation[:, None]) @ embedded[:, None].transpose(2, 3)
        scores = functional.leaky_relu(scores.gather(1, kind[:, None])[:, 0], LEAKY_SLOPE)
        return scores.masked_fill(~beside, -1e9).softmax(2) @ embedded

    def _global(self, inputs: Tensor, embedded: Tensor, nodes: SessionNodes) -> Tensor:
        """Return attention of each position over its item's neighbours in all histories."""
        near, weights = self.item(self.neighbours[inputs]), self.weights[inputs]
        session = _mean(embedded, nodes.real)[:, :, None]
        # The session is in the matrix, not in each of its neighbours: the same product, and far
        # fewer numbers.
        likeness = (near.flatten(1, 2) @ (session * self.near.weight.T)).view_as(near)
        likeness = torch.addcmul(likeness, weights[..., None], self.near_weight)
        scores = self.near_score(functional.leaky_relu(likeness, LEAKY_SLOPE))[..., 0]
        attention = scores.masked_fill(weights == 0, -1e9).softmax(2) * (weights > 0)
        joined = torch.cat([embedded, (attention[:, :, None] @ near)[:, :, 0]], dim=2)
        return torch.relu(self.join(self.join_dropout(joined)))


def relations(nodes: SessionNodes) -> tuple[Tensor, Tensor]:
    """The session's graph.

    Returns:
        The relation of the item at each position to that at another, one of SELF, INTO (the other
        comes right before it), OUT (right after it) and BOTH, int64 (n, length, length); and bool
        of that shape, true where it is one of these and the other is the first position of
        its item.
    """
    follows = (nodes.same[:, :, :-1].float() @ nodes.same[:, 1:].float()) > 0
    before = follows.transpose(1, 2)
    kind = torch.where(follows, torch.where(before, BOTH, OUT), INTO).masked_fill(nodes.same, SELF)
    return kind, (follows | before | nodes.same) & nodes.first[:, None]


def _mean(states: Tensor, real: Tensor) -> Tensor:
    """Return the mean of the real positions, float32 (n, d)."""
    return (states * real[:, :, None]).sum(1) / real.sum(1, keepdim=True)


BASELINE = network_baseline(
    "GCE-GNN",
    "Wang et al. 2020, Global Context Enhanced Graph Neural Networks for Session-based "
    "Recommendation, SIGIR",
    {
        "dimension": (100,),
        "join_dropout": (0.0, 0.2, 0.6),
        "local_dropout": (0.0, 0.5),
        "global_dropout": (0.5, 0.2),
        "window": (20, 10, 50),
        "learning_rate": (0.001, 0.003),
        "weight_decay": (1e-5, 0.1),
        "batch_size": (100,),
    },
    GlobalContextGraph,
    every_position=False,
)
