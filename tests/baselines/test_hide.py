import math

import numpy as np
import torch

from dualrec.baselines.baseline import Items, TrainingData
from dualrec.baselines.graphs import session_nodes
from dualrec.baselines.hide import (
    BASELINE,
    TRANSITION,
    HyperedgeAttention,
    IntentHypergraph,
    context_edges,
    intent_edges,
    transition_edges,
)
from dualrec.baselines.networks import HistoryBatch
from dualrec.config.settings import BaselineSettings

PUBLISHED = {name: values[0] for name, values in BASELINE.ranges.items()}
SMALL = PUBLISHED | {
    "dimension": 16,
    "intents": 4,
    "window": 5,
    "learning_rate": 0.05,
    "batch_size": 32,
}
ITEMS = Items(np.arange(20), np.zeros((20, 4), np.float32))
CYCLE = [np.arange(start, start + 7) % 20 + 1 for start in range(20)]


def _network(**changes: float) -> IntentHypergraph:
    torch.manual_seed(0)
    return IntentHypergraph(ITEMS, SMALL | changes).eval()


def _batch(*rows: list[int]) -> HistoryBatch:
    padded = torch.tensor([row + [0] * (5 - len(row)) for row in rows])
    return HistoryBatch(
        padded, torch.tensor([len(row) for row in rows]), torch.zeros(len(rows), dtype=torch.int64)
    )


def _members(edges: torch.Tensor) -> list[list[int]]:
    """The places in each hyperedge, of those that hold any."""
    return [column.nonzero()[:, 0].tolist() for column in edges.T if column.any()]


def test_transitional_hyperedges_are_the_windows_that_a_history_holds() -> None:
    size = torch.tensor([3])
    nodes = session_nodes(torch.tensor([[0, 5, 6, 0]]), size)
    assert _members(transition_edges(size, nodes, 3)[0]) == [[0, 1], [1, 2], [0, 1, 2]]


def test_a_window_around_an_item_holds_its_other_places_too() -> None:
    size = torch.tensor([4])
    nodes = session_nodes(torch.tensor([[1, 2, 3, 1]]), size)
    assert _members(transition_edges(size, nodes, 2)[0]) == [[0, 1, 3], [1, 2], [0, 2, 3]]


def test_contextual_hyperedges_join_an_item_with_all_that_follow_it() -> None:
    nodes = session_nodes(torch.tensor([[1, 2, 1, 3, 0]]), torch.tensor([4]))
    assert _members(context_edges(nodes)[0]) == [[0, 1, 2, 3], [0, 1, 2], [3]]


def test_an_intents_hyperedge_holds_the_items_that_are_most_like_it() -> None:
    nodes = session_nodes(torch.tensor([[1, 2, 3, 4, 0]]), torch.tensor([4]))
    likeness = torch.tensor([0.1, 0.9, -0.9, 0.8, 1.0])
    embedded = torch.stack([likeness, torch.sqrt(1 - likeness**2)], dim=1)[None, None]
    prototype = torch.tensor([[[[1.0, 0.0]]]])
    assert _members(intent_edges(embedded, prototype, nodes, 0.4)[0, 0]) == [
        [1, 3]
    ]  # 2 = ceil(0.4 * 4)


def test_with_no_preference_a_state_is_the_mean_of_the_means_of_its_hyperedges() -> None:
    through = HyperedgeAttention(1, 2)
    for weight in through.parameters():
        torch.nn.init.zeros_(weight)
    size = torch.tensor([3])
    nodes = session_nodes(torch.tensor([[1, 2, 3]]), size)
    edges = transition_edges(size, nodes, 2)[:, None]
    states = torch.tensor([[[[1.0, 0.0], [3.0, 4.0], [5.0, 0.0]]]])
    found = through(
        states, states.mean(2, keepdim=True), edges, torch.full((2,), TRANSITION), nodes
    )
    first, second = [(1 + 3) / 2, 4 / 2], [(3 + 5) / 2, 4 / 2]
    torch.testing.assert_close(found[0, 0], torch.tensor([first, [(2 + 4) / 2, 2.0], second]))


def test_attention_prefers_the_node_and_the_hyperedge_that_its_weights_ask_for() -> None:
    through = HyperedgeAttention(1, 1)
    torch.nn.init.constant_(through.gather, 0.5)
    torch.nn.init.constant_(through.spread, 0.25)
    size = torch.tensor([3])
    nodes = session_nodes(torch.tensor([[1, 2, 3]]), size)
    edges = transition_edges(size, nodes, 2)[:, None]
    states = torch.tensor([1.0, 2.0, 3.0])
    found = through(
        states.view(1, 1, 3, 1), torch.full((1, 1, 1, 1), 2.0), edges, torch.tensor([0, 0]), nodes
    )
    low = (torch.tensor([1.0, 2.0]) * 3 * 0.5).softmax(0) @ torch.tensor([1.0, 2.0])
    high = (torch.tensor([2.0, 3.0]) * 5 * 0.5).softmax(0) @ torch.tensor([2.0, 3.0])
    pair = torch.stack([low, high])
    middle = ((2.0 + 2.0) * pair * 0.25).softmax(0) @ pair
    torch.testing.assert_close(found.flatten(), torch.stack([low, middle, high]))


def test_only_while_training_a_loss_asks_for_intents_that_can_be_told_apart() -> None:
    network = _network(auxiliary_weight=0.5)
    network(_batch([0, 1, 2]))
    assert network.auxiliary_loss is None
    for weight in network.intent_of.parameters():
        torch.nn.init.zeros_(weight)
    network.train()(_batch([0, 1, 2]))
    torch.testing.assert_close(network.auxiliary_loss, torch.tensor(0.5 * math.log(4)))


def test_padding_and_the_rest_of_the_batch_change_nothing() -> None:
    network = _network().train()
    long = network(_batch([0, 3], [5, 4, 3, 2, 1]))
    _ = network(_batch([0, 3]))
    padded = network.auxiliary_loss
    alone = network(
        HistoryBatch(torch.tensor([[0, 3]]), torch.tensor([2]), torch.zeros(1, dtype=torch.int64))
    )
    torch.testing.assert_close(long[:1], alone)
    torch.testing.assert_close(padded, network.auxiliary_loss)


def test_the_order_of_a_history_matters() -> None:
    network = _network()
    assert not torch.allclose(network(_batch([1, 2, 3])), network(_batch([3, 2, 1])))


def test_it_learns_what_follows_and_scores_alike_when_it_is_restored() -> None:
    settings = BaselineSettings(epochs=8, patience=8, validation_places=1)
    data = TrainingData(ITEMS, CYCLE[:15] * 2, CYCLE[15:], settings)
    fitted = BASELINE.fit(data, SMALL)
    assert fitted.ndcg_at_10 > 0.9  # guessing gives about 0.3
    scores = BASELINE.scorer(fitted.state, ITEMS, SMALL)([np.array([3, 4, 5])])
    assert scores.shape == (1, 20)
    assert scores.argmax() + 1 == 6
