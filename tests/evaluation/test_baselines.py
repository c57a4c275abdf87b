import numpy as np

from dualrec.evaluation.baselines.most_popular import most_popular_list, popularity_order
from dualrec.evaluation.baselines.random_items import random_list

ITEMS = np.arange(1, 101)


def test_random_is_seeded_unwatched_and_different_for_each_user() -> None:
    one = random_list(1, [3, 4], ITEMS, 10, seed=0)
    assert one == random_list(1, [3, 4], ITEMS, 10, seed=0)
    assert one != random_list(2, [3, 4], ITEMS, 10, seed=0)
    assert len(set(one)) == 10
    assert not {3, 4} & set(one)


def test_random_hits_as_often_as_guessing_does() -> None:
    hits = [50 in random_list(user, [], ITEMS, 10, seed=0) for user in range(4000)]
    assert abs(np.mean(hits) - 0.10) < 0.02


def test_the_most_popular_unwatched_items_come_first_and_ties_go_to_the_smaller_id() -> None:
    order = popularity_order(np.array([1, 2, 3, 4]), np.array([5, 9, 5, 1]))
    assert order.tolist() == [2, 1, 3, 4]
    assert most_popular_list([2], order, 2) == [1, 3]
