"""HIDE: a history as a hypergraph, in which each of a few intents takes part through its own slice
of the embeddings.

Comes in: the inputs of a history. Goes out: its state. Three kinds of
hyperedges join the items of
a history: sliding windows of several widths, an item with all that come right after it, and for
each intent the items nearest to it. While training, an auxiliary loss makes the intents
distinguishable.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from dualrec.baselines.baseline import Items, Parameters
from dualrec.baselines.graphs import LEAKY_SLOPE, SessionNodes, session_nodes
from dualrec.baselines.networks import HistoryBatch, network_baseline

TRANSITION, CONTEXT, INTENT = range(3)


class HyperedgeAttention(nn.Module):
    """One round through the hyperedges, the same for every intent but for its weights: the micro
    level."""

    def __init__(self, intents: int, dimension: int) -> None:
        super().__init__()
        self.gather = nn.Parameter(torch.empty(intents, 3, dimension))
        self.spread = nn.Parameter(torch.empty(intents, 3, dimension))

    def forward(
        self, states: Tensor, session: Tensor, edges: Tensor, kind: Tensor, nodes: SessionNodes
    ) -> Tensor:
        """Nodes to hyperedges to nodes.

        Args:
            states: float32 (n, intents, length, d).
            session: float32 (n, intents, 1, d), means of the states.
            edges: bool (n, intents, length, edges), which positions are in which hyperedge.
            kind: int64 (edges,), one of TRANSITION, CONTEXT and INTENT.

        Returns:
            States of the same shape.
        """
        members = edges & nodes.first[:, None, :, None]
        sums = members.transpose(2, 3).to(states.dtype) @ states
        gathered = states @ (sums * self.gather[:, kind]).transpose(2, 3)
        gathered = (
            functional.leaky_relu(gathered, LEAKY_SLOPE).masked_fill(~members, -1e9).softmax(2)
        )
        hyperedges = gathered.transpose(2, 3) @ states
        spread = (states + session) @ (hyperedges * self.spread[:, kind]).transpose(2, 3)
        return (
            functional.leaky_relu(spread, LEAKY_SLOPE).masked_fill(~edges, -1e9).softmax(3)
            @ hyperedges
        )


class IntentHypergraph(nn.Module):
    """The hypergraphs of all intents, and their readout. Intent k owns the k-th slice of all
    embeddings."""

    def __init__(self, items: Items, parameters: Parameters) -> None:
        super().__init__()
        dimension, self.intents = int(parameters["dimension"]), int(parameters["intents"])
        self.widest, self.share = (
            int(parameters["widest_window"]),
            float(parameters["intent_share"]),
        )
        self.auxiliary_weight = float(parameters["auxiliary_weight"])
        self.auxiliary_loss: Tensor | None = None
        self.item = nn.Embedding(len(items.item_ids) + 1, dimension)
        self.place = nn.Embedding(int(parameters["window"]), dimension)
        self.through = HyperedgeAttention(self.intents, dimension // self.intents)
        self.intent_of = nn.Linear(dimension // self.intents, self.intents)
        self.placed = nn.Linear(2 * dimension, dimension, bias=False)
        self.interest = nn.Linear(2 * dimension, dimension, bias=False)
        self.gates = nn.ModuleList(nn.Linear(dimension, dimension) for _ in range(3))
        self.readout = nn.Linear(3 * dimension, 1, bias=False)
        for weight in self.parameters():
            nn.init.uniform_(weight, -(dimension**-0.5), dimension**-0.5)

    def forward(self, batch: HistoryBatch) -> Tensor:
        """Return states float32 (n, d)."""
        nodes = session_nodes(batch.inputs, batch.size)
        embedded = self._slices(self.item(batch.inputs))
        prototypes = self._slices(self.item.weight[1:].mean(0)[None, None])
        edges, kind = self._hypergraph(embedded, prototypes, batch, nodes)
        states = self.through(embedded, _mean(embedded, nodes.real), edges, kind, nodes)
        states = states * torch.sigmoid(states * prototypes) + states
        if self.training:
            self.auxiliary_loss = self.auxiliary_weight * self._disentanglement(states, nodes.real)
        return self._readout(states.transpose(1, 2).flatten(2), batch.size, nodes.real)

    def scores(self, states: Tensor) -> Tensor:
        """Return scores float32 (..., N): the sum of what the items' slices give under each
        intent."""
        return states @ self.item.weight[1:].T

    def _slices(self, states: Tensor) -> Tensor:
        """(n, length, d) as (n, intents, length, d / intents)."""
        return states.unflatten(2, (self.intents, -1)).transpose(1, 2)

    def _hypergraph(
        self, embedded: Tensor, prototypes: Tensor, batch: HistoryBatch, nodes: SessionNodes
    ) -> tuple[Tensor, Tensor]:
        """All hyperedges of every intent, bool (n, intents, length, edges), and the kind of each,
        int64 (edges,)."""
        transition, context = transition_edges(batch.size, nodes, self.widest), context_edges(nodes)
        fixed = torch.cat([transition, context], dim=2)[:, None].expand(-1, self.intents, -1, -1)
        edges = torch.cat([fixed, intent_edges(embedded, prototypes, nodes, self.share)], dim=3)
        kind = [TRANSITION] * transition.shape[2] + [CONTEXT] * context.shape[2] + [INTENT]
        return edges, torch.tensor(kind)

    def _disentanglement(self, states: Tensor, real: Tensor) -> Tensor:
        """Return the loss of classifying the intent of a history's slice: the macro level."""
        guesses = self.intent_of(_mean(states, real)[:, :, 0])
        truth = torch.arange(self.intents).expand(len(guesses), -1)
        return functional.cross_entropy(guesses.flatten(0, 1), truth.flatten())

    def _readout(self, states: Tensor, size: Tensor, real: Tensor) -> Tensor:
        """Attention of the history's mean and last state over all of them: (n, length, d) to (n,
        d)."""
        last_first = (size[:, None] - 1 - torch.arange(states.shape[1])).clamp(min=0)
        last = states[torch.arange(len(states)), size - 1]
        placed = torch.tanh(self.placed(torch.cat([self.place(last_first), states], dim=2)))
        mean = (states * real[:, :, None]).sum(1) / size[:, None]
        interest = self.interest(torch.cat([mean, last], dim=1))[:, None]
        seen = (placed, interest.expand_as(states), interest * states)
        gates = [torch.sigmoid(gate(part)) for gate, part in zip(self.gates, seen, strict=True)]
        attention = self.readout(torch.cat(gates, dim=2))
        return torch.as_tensor((attention * real[:, :, None] * states).sum(1))


def transition_edges(size: Tensor, nodes: SessionNodes, widest: int) -> Tensor:
    """Return a hyperedge for each window of 2 to `widest` positions that a history holds, bool (n,
    length, edges)."""
    length = nodes.real.shape[1]
    spans = [
        (begin, begin + width)
        for width in range(2, widest + 1)
        for begin in range(length - width + 1)
    ]
    begin, end = torch.tensor(spans, dtype=torch.int64).view(-1, 2).T
    position = torch.arange(length)[:, None]
    inside = (position >= begin) & (position < end)
    return _of_nodes(nodes, inside & (end <= size[:, None])[:, None])


def context_edges(nodes: SessionNodes) -> Tensor:
    """A hyperedge for each item: it and all that come right after it, bool (n, length, length)."""
    after = functional.pad(nodes.same[:, :-1], (0, 0, 1, 0))
    return _of_nodes(nodes, nodes.same | after) & nodes.first[:, None]


def intent_edges(embedded: Tensor, prototypes: Tensor, nodes: SessionNodes, share: float) -> Tensor:
    """A hyperedge for each intent: the share of the items that are most like it, bool (n, intents,
    length, 1).

    Args:
        embedded: float32 (n, intents, length, d).
        prototypes: float32 (1, intents, 1, d).
        share: of a history's items, rounded up.
    """
    likeness = functional.cosine_similarity(embedded, prototypes, dim=3)
    likeness = likeness.masked_fill(~nodes.first[:, None], -torch.inf)
    rank = likeness.argsort(dim=2, descending=True, stable=True).argsort(dim=2)
    chosen = rank < torch.ceil(share * nodes.first.sum(1))[:, None, None]
    return _of_nodes(nodes, (chosen & nodes.first[:, None]).transpose(1, 2)).transpose(1, 2)[
        ..., None
    ]


def _of_nodes(nodes: SessionNodes, positions: Tensor) -> Tensor:
    """Extend hyperedges of positions to every position of their items, bool (n, length, edges)."""
    return (nodes.same.float() @ positions.float()) > 0


def _mean(states: Tensor, real: Tensor) -> Tensor:
    """Return the mean of the real positions of (n, intents, length, d), float32 (n, intents, 1,
    d)."""
    return (states * real[:, None, :, None]).sum(2, keepdim=True) / real.sum(1)[:, None, None, None]


BASELINE = network_baseline(
    "HIDE",
    "Li et al. 2022, Enhancing Hypergraph Neural Networks with Intent Disentanglement for "
    "Session-based Recommendation, SIGIR",
    {
        "dimension": (100,),
        "intents": (5, 2, 10),
        "widest_window": (6, 3),
        "intent_share": (0.4, 0.2),
        "auxiliary_weight": (1e-4, 1e-2),
        "window": (20, 10, 50),
        "learning_rate": (0.001, 0.01),
        "weight_decay": (1e-5, 0.1),
        "batch_size": (100,),
    },
    IntentHypergraph,
    every_position=False,
)
