import numpy as np
import torch

from dualrec.baselines.graphs import global_graph, session_nodes

HISTORIES = [np.array([1, 2, 3]), np.array([2, 1]), np.array([4]), np.array([], np.int64)]


def test_neighbours_are_those_within_reach_in_either_direction_the_most_frequent_first() -> None:
    neighbours, weights = global_graph(HISTORIES, 5, max_gap=1, most=2)
    assert neighbours.tolist() == [[0, 0], [2, 0], [1, 3], [2, 0], [0, 0], [0, 0]]
    np.testing.assert_allclose(weights, [[0, 0], [1, 0], [2 / 3, 1 / 3], [1, 0], [0, 0], [0, 0]])


def test_a_longer_reach_finds_more_and_only_the_heaviest_are_kept() -> None:
    neighbours, weights = global_graph(HISTORIES, 5, max_gap=2, most=1)
    assert neighbours[1:4, 0].tolist() == [
        2,
        1,
        1,
    ]  # 3 is as near to 1 as to 2: the smaller number stays
    assert weights[1:4, 0].tolist() == [1, 1, 1]


def test_an_item_is_no_neighbour_of_itself() -> None:
    neighbours, weights = global_graph([np.array([1, 1, 1])], 1, max_gap=3, most=2)
    assert not neighbours.any() and not weights.any()


def test_an_item_that_comes_back_is_one_node_at_its_first_place() -> None:
    nodes = session_nodes(torch.tensor([[4, 5, 4]]), torch.tensor([3]))
    assert nodes.first.tolist() == [[True, True, False]]
    assert nodes.same.tolist() == [[[True, False, True], [False, True, False], [True, False, True]]]


def test_padding_is_no_node_though_its_number_may_stand_in_front() -> None:
    nodes = session_nodes(torch.tensor([[0, 7, 0, 0]]), torch.tensor([2]))
    assert nodes.real.tolist() == [[True, True, False, False]]
    assert nodes.first.tolist() == [[True, True, False, False]]
    assert nodes.same.sum() == 2
