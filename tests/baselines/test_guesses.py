import numpy as np

from dualrec.baselines import most_popular, random_items
from dualrec.baselines.baseline import Items, TrainingData
from dualrec.config.settings import BaselineSettings

ITEMS = Items(np.arange(1, 101), np.zeros((100, 2), np.float32))
TRAINING = [np.array([1, 2]), np.array([2, 5])]
DATA = TrainingData(ITEMS, TRAINING, [np.array([1, 2])], BaselineSettings())


def test_random_is_the_same_for_a_history_whoever_stands_beside_it() -> None:
    fitted = random_items.BASELINE.fit(DATA, {})
    score = random_items.BASELINE.scorer(fitted.state, ITEMS, {})
    both = score([np.array([3, 4]), np.array([5])])
    assert (score([np.array([5])])[0] == both[1]).all()
    assert (both[0] != both[1]).any()


def test_random_gives_users_without_a_history_different_lists() -> None:
    fitted = random_items.BASELINE.fit(DATA, {})
    one, other = random_items.BASELINE.scorer(fitted.state, ITEMS, {})([np.zeros(0, np.int64)] * 2)
    assert (one != other).any()


def test_random_hits_as_often_as_guessing_does() -> None:
    fitted = random_items.BASELINE.fit(DATA, {})
    scores = random_items.BASELINE.scorer(fitted.state, ITEMS, {})(
        [np.array([user]) for user in range(4000)]
    )
    among_ten = (scores > scores[:, [49]]).sum(1) < 10
    assert abs(among_ten.mean() - 0.10) < 0.02


def test_popularity_counts_training_users_alone() -> None:
    fitted = most_popular.BASELINE.fit(DATA, {})
    scores = most_popular.BASELINE.scorer(fitted.state, ITEMS, {})([np.array([9])] * 2)
    assert scores.shape == (2, 100)
    assert scores[0, :6].tolist() == [1, 2, 0, 0, 1, 0]
