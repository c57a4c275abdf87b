from math import log2

import pytest

from dualrec.ranking.accuracy import hit_at, ndcg_at


def test_hits_count_once_within_the_first_k() -> None:
    assert hit_at(1, [5, 6], [6]) == 0.0
    assert hit_at(2, [5, 6], [6]) == 1.0
    assert hit_at(5, [None, 6], [6, 5]) == 1.0
    assert hit_at(5, [], [6]) == 0.0


def test_ndcg_with_one_true_item_is_its_discount() -> None:
    assert ndcg_at(10, [1, 2, 3], [3]) == pytest.approx(1 / log2(4))
    assert ndcg_at(2, [1, 2, 3], [3]) == 0.0


def test_ndcg_with_several_true_items_is_over_the_ideal_list() -> None:
    gained = 1 / log2(2) + 1 / log2(4)
    ideal = 1 / log2(2) + 1 / log2(3)
    assert ndcg_at(3, [8, None, 9], [9, 8]) == pytest.approx(gained / ideal)
    assert ndcg_at(3, [9, 8, None], [9, 8]) == pytest.approx(1.0)
