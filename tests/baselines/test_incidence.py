import numpy as np

from dualrec.baselines.incidence import incidence


def test_a_history_is_ones_at_its_items_however_often_and_in_whatever_order_it_holds_them() -> None:
    found = incidence([np.array([3, 1, 3]), np.array([], np.int64), np.array([4])], 4)
    assert found.dtype == np.float32
    assert found.toarray().tolist() == [[1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]


def test_there_may_be_no_histories() -> None:
    assert incidence([], 3).shape == (0, 3)
