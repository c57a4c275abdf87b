import math

import numpy as np
import pytest

from dualrec.baselines.baseline import Items, Parameters, TrainingData
from dualrec.baselines.sknn import BASELINE, QUERIES, incidence
from dualrec.config.settings import BaselineSettings

N = 8
ITEMS = Items(np.arange(1, N + 1), np.eye(N, dtype=np.float32))
PUBLISHED: Parameters = {name: values[0] for name, values in BASELINE.ranges.items()}
TRAINING = [np.array([1, 2, 3]), np.array([1, 4]), np.array([5, 6, 7, 8])]


def _scores(
    *histories: list[int], training: list[np.ndarray] = TRAINING, **changes: int
) -> np.ndarray:
    data = TrainingData(ITEMS, training, [], BaselineSettings())
    parameters = {**PUBLISHED, **changes}
    state = BASELINE.fit(data, parameters).state
    return BASELINE.scorer(state, ITEMS, parameters)(
        [np.array(numbers, np.int64) for numbers in histories]
    )


def test_an_item_is_worth_the_cosines_of_the_neighbours_that_hold_it() -> None:
    near, far = 2 / math.sqrt(2 * 3), 1 / math.sqrt(2 * 2)
    expected = [near + far, near, near, far, 0, 0, 0, 0]
    assert _scores([1, 2])[0] == pytest.approx(expected)


def test_only_the_nearest_neighbours_count() -> None:
    near = 2 / math.sqrt(2 * 3)
    assert _scores([1, 2], neighbours=1)[0] == pytest.approx([near, near, near, 0, 0, 0, 0, 0])
    assert np.array_equal(_scores([1, 2], neighbours=3), _scores([1, 2], neighbours=100))


def test_neither_order_nor_repeats_matter() -> None:
    one, other = _scores([1, 2, 6], [6, 2, 1, 2])
    assert np.allclose(one, other)


def test_recent_asks_with_the_last_items_alone() -> None:
    asked = _scores([1, 2, 5, 6], recent=2)
    assert np.array_equal(asked, _scores([5, 6]))
    assert not np.allclose(asked, _scores([1, 2, 5, 6]))
    assert np.array_equal(_scores([6], recent=2), _scores([6]))


def test_histories_are_scored_alone_as_among_many_and_an_empty_one_has_no_neighbours() -> None:
    random = np.random.default_rng(0)
    training = [random.integers(1, N + 1, 4) for _ in range(40)]
    histories = [random.integers(1, N + 1, length % 5).tolist() for length in range(QUERIES + 20)]
    together = _scores(*histories, training=training, neighbours=10)
    assert together.shape == (QUERIES + 20, N) and together.dtype == np.float32
    for place in (0, 3, QUERIES - 1, QUERIES, QUERIES + 19):
        assert np.allclose(
            together[place], _scores(histories[place], training=training, neighbours=10)[0]
        )
    assert not together[0].any()


def test_it_finds_the_group_that_a_user_belongs_to() -> None:
    """Users watch either the first or the last half of the catalog."""
    random = np.random.default_rng(0)
    histories = [random.permutation(4)[:3] + 1 + 4 * (user % 2) for user in range(60)]
    fitted = BASELINE.fit(
        TrainingData(ITEMS, histories[:40], histories[40:], BaselineSettings(validation_places=1)),
        PUBLISHED,
    )
    assert (
        fitted.ndcg_at_10 > 0.75
    )  # of two unwatched items of the group one is right: (1 + 1 / log2 3) / 2 = 0.82


def test_a_history_is_ones_at_its_items_however_often_and_in_whatever_order_it_holds_them() -> None:
    found = incidence([np.array([3, 1, 3]), np.array([], np.int64), np.array([4])], 4)
    assert found.dtype == np.float32
    assert found.toarray().tolist() == [[1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]


def test_there_may_be_no_histories() -> None:
    assert incidence([], 3).shape == (0, 3)
