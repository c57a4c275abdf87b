import torch

from dualrec.baselines.session_nodes import session_nodes


def test_an_item_that_comes_back_is_one_node_at_its_first_place() -> None:
    nodes = session_nodes(torch.tensor([[4, 5, 4]]), torch.tensor([3]))
    assert nodes.first.tolist() == [[True, True, False]]
    assert nodes.same.tolist() == [[[True, False, True], [False, True, False], [True, False, True]]]


def test_padding_is_no_node_though_its_number_may_stand_in_front() -> None:
    nodes = session_nodes(torch.tensor([[0, 7, 0, 0]]), torch.tensor([2]))
    assert nodes.real.tolist() == [[True, True, False, False]]
    assert nodes.first.tolist() == [[True, True, False, False]]
    assert nodes.same.sum() == 2
