import numpy as np
import pytest
from sklearn.linear_model import ElasticNet

from dualrec.baselines import slim
from dualrec.baselines.baseline import Items, Parameters, TrainingData
from dualrec.baselines.sknn import incidence
from dualrec.baselines.slim import BASELINE, item_weights
from dualrec.config.settings import BaselineSettings

N = 12
ITEMS = Items(np.arange(1, N + 1), np.eye(N, dtype=np.float32))
PUBLISHED: Parameters = {name: values[0] for name, values in BASELINE.ranges.items()}


def _histories(users: int) -> list[np.ndarray]:
    """Whoever watches an odd item watches the even one after it, and some others."""
    random = np.random.default_rng(0)
    histories = []
    for _ in range(users):
        odd = random.permutation(N // 2)[:3] * 2 + 1
        histories.append(np.stack([odd, odd + 1], 1).ravel())
    return histories


def test_weights_are_those_of_an_elastic_net_of_each_item_on_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slim, "TARGETS", 5)  # so that there are several lots of targets
    random = np.random.default_rng(0)
    matrix = incidence([np.flatnonzero(row) + 1 for row in random.random((60, N)) < 0.3], N)
    ones, l1, l2 = matrix.toarray().astype(np.float64), 1.0, 2.0
    expected = np.zeros((N, N))
    for item in range(N):
        others = np.delete(np.arange(N), item)
        net = ElasticNet(
            (l1 + l2) / 60, l1_ratio=l1 / (l1 + l2), fit_intercept=False, positive=True, tol=1e-7
        )
        expected[others, item] = net.fit(ones[:, others], ones[:, item]).coef_
    found = item_weights(matrix, l1, l2).toarray()
    assert np.allclose(found, expected, atol=0.003)
    assert (found > 0).any(0).all() and (found == 0).sum() > N  # more zeros than the diagonal


def test_two_items_that_are_watched_together_weigh_what_the_papers_equation_says() -> None:
    both = incidence([np.array([1, 2])] * 10 + [np.array([3])] * 10, 3)
    weight = (10 - 2) / (10 + 5)  # (a_1' a_2 - l1) / (a_1' a_1 + l2)
    expected = [[0, weight, 0], [weight, 0, 0], [0, 0, 0]]
    assert np.allclose(item_weights(both, l1=2, l2=5).toarray(), expected, atol=0.003)


def test_a_larger_l1_leaves_fewer_weights() -> None:
    matrix = incidence(_histories(80), N)
    assert item_weights(matrix, 10.0, 1.0).nnz < item_weights(matrix, 0.1, 1.0).nnz


def test_an_item_is_worth_the_weights_from_the_items_of_the_history() -> None:
    weights = np.zeros((N, N), np.float32)
    weights[0, 4], weights[1, 4], weights[1, 5] = 0.5, 0.25, 0.125
    rows, columns = weights.nonzero()
    state = {
        "weights": weights[rows, columns],
        "indices": columns.astype(np.int32),
        "indptr": np.searchsorted(rows, np.arange(N + 1)).astype(np.int32),
    }
    scores = BASELINE.scorer(state, ITEMS, PUBLISHED)(
        [np.array([1, 2, 2]), np.array([], np.int64), np.array([2])]
    )
    assert scores.shape == (3, N) and scores.dtype == np.float32
    assert scores[0].nonzero()[0].tolist() == [4, 5]
    assert scores[0, [4, 5]].tolist() == [0.75, 0.125]
    assert not scores[1].any()
    assert scores[2, [4, 5]].tolist() == [0.25, 0.125]


def test_it_learns_what_goes_with_what_and_scores_alike_when_it_is_restored() -> None:
    histories = _histories(120)
    fitted = BASELINE.fit(
        TrainingData(ITEMS, histories[:80], histories[80:], BaselineSettings(validation_places=1)),
        PUBLISHED,
    )
    assert fitted.ndcg_at_10 > 0.99  # the last item always goes with the one before it
    history = np.array([7, 3, 4])
    scores = BASELINE.scorer(fitted.state, ITEMS, PUBLISHED)([history])
    scores[:, history - 1] = -np.inf
    assert scores.argmax() + 1 == 8
