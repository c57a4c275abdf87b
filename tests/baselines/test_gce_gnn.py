import numpy as np
import torch

from dualrec.baselines.baseline import Items, TrainingData
from dualrec.baselines.gce_gnn import BASELINE, BOTH, INTO, OUT, SELF, GlobalContextGraph, relations
from dualrec.baselines.graphs import session_nodes
from dualrec.baselines.networks import HistoryBatch
from dualrec.config.settings import BaselineSettings

PUBLISHED = {name: values[0] for name, values in BASELINE.ranges.items()}
SMALL = PUBLISHED | {"dimension": 16, "window": 5, "learning_rate": 0.02, "batch_size": 32}
ITEMS = Items(np.arange(20), np.zeros((20, 4), np.float32))
CYCLE = [np.arange(start, start + 7) % 20 + 1 for start in range(20)]


def _network() -> GlobalContextGraph:
    torch.manual_seed(0)
    return GlobalContextGraph(ITEMS, SMALL).eval()


def _batch(*rows: list[int]) -> HistoryBatch:
    padded = torch.tensor([row + [0] * (5 - len(row)) for row in rows])
    return HistoryBatch(
        padded, torch.tensor([len(row) for row in rows]), torch.zeros(len(rows), dtype=torch.int64)
    )


def test_items_that_follow_each_other_both_ways_have_a_relation_of_their_own() -> None:
    kind, beside = relations(session_nodes(torch.tensor([[1, 2, 1, 3]]), torch.tensor([4])))
    assert beside[0].tolist() == [
        [True, True, False, True],
        [True, True, False, False],
        [True, True, False, True],
        [True, False, False, True],
    ]
    assert [kind[0, 0, place].item() for place in (0, 1, 3)] == [SELF, BOTH, OUT]
    assert kind[0, 1, 0] == BOTH and kind[0, 3, 0] == INTO


def _local_states(network: GlobalContextGraph, sequence: list[int]) -> list[torch.Tensor]:
    """By the paper's equations: attention of each item over itself and those beside it, where no
    item comes back."""
    embedded = network.item.weight[sequence]
    states = []
    for place in range(len(sequence)):
        kinds = {place: SELF, place - 1: INTO, place + 1: OUT}
        beside = [other for other in range(len(sequence)) if other in kinds]
        likeness = [
            network.relation[kinds[other]] @ (embedded[place] * embedded[other]) for other in beside
        ]
        attention = torch.nn.functional.leaky_relu(torch.stack(likeness), 0.2).softmax(0)
        states.append(
            sum(weight * embedded[other] for weight, other in zip(attention, beside, strict=True))
        )
    return states


def _read_out(network: GlobalContextGraph, states: list[torch.Tensor]) -> torch.Tensor:
    """By the paper's equations: a sum over places, each weighed by how long ago it was and by the
    mean of all."""
    mean = sum(states) / len(states)
    read = torch.zeros(16)
    for place, state in enumerate(states):
        placed = torch.tanh(
            network.placed(torch.cat([state, network.place.weight[len(states) - 1 - place]]))
        )
        gate = torch.sigmoid(network.of_place(placed) + network.of_session(mean))
        read = read + network.readout(gate) * state
    return read


def test_without_the_global_graph_states_are_those_of_the_papers_equations() -> None:
    network = _network()
    torch.nn.init.zeros_(network.join.weight)
    sequence = [0, 4, 9]
    expected = _read_out(network, _local_states(network, sequence))
    torch.testing.assert_close(network(_batch(sequence))[0], expected)


def test_a_session_reads_the_neighbours_of_its_items_and_no_other_items() -> None:
    network = _network()
    network.prepare([np.array([1, 2]), np.array([5, 6])])
    before = network(_batch([0, 1]))
    with torch.no_grad():
        network.item.weight[6] += 1
    assert torch.equal(network(_batch([0, 1])), before)
    with torch.no_grad():
        network.item.weight[2] += 1
    assert not torch.allclose(network(_batch([0, 1])), before)


def test_neighbours_are_weighed_by_the_papers_session_aware_attention() -> None:
    network = _network()
    network.prepare([np.array([1, 2, 3]), np.array([1, 2])])
    embedded = network.item.weight[[1, 5]]
    session = embedded.mean(0)
    scores = [
        network.near_score(
            torch.nn.functional.leaky_relu(
                network.near(session * network.item.weight[other]) + weight * network.near_weight,
                0.2,
            )
        )
        for other, weight in ((2, 2 / 3), (3, 1 / 3))
    ]
    attention = torch.cat(scores).softmax(0)
    near = attention[0] * network.item.weight[2] + attention[1] * network.item.weight[3]
    joined = torch.relu(network.join(torch.cat([embedded[0], near])))
    alone = torch.relu(network.join(torch.cat([embedded[1], torch.zeros(16)])))
    states = [
        local + near
        for local, near in zip(_local_states(network, [1, 5]), (joined, alone), strict=True)
    ]
    torch.testing.assert_close(network(_batch([1, 5]))[0], _read_out(network, states))


def test_padding_and_the_rest_of_the_batch_change_nothing() -> None:
    network = _network()
    network.prepare(CYCLE)
    together = network(_batch([0, 3], [5, 4, 3, 2, 1]))
    alone = network(
        HistoryBatch(torch.tensor([[0, 3]]), torch.tensor([2]), torch.zeros(1, dtype=torch.int64))
    )
    torch.testing.assert_close(together[:1], alone)


def test_it_learns_what_follows_and_scores_alike_when_it_is_restored() -> None:
    settings = BaselineSettings(epochs=8, patience=8)
    data = TrainingData(ITEMS, CYCLE[:15] * 2, CYCLE[15:], settings)
    fitted = BASELINE.fit(data, SMALL)
    assert fitted.ndcg_at_10 > 0.9  # guessing gives about 0.3
    scores = BASELINE.scorer(fitted.state, ITEMS, SMALL)([np.array([3, 4, 5])])
    assert scores.shape == (1, 20)
    assert scores.argmax() + 1 == 6
    assert fitted.state["weights"].any()
