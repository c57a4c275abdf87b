import math

import numpy as np
import torch

from dualrec.baselines.atten_mixer import BASELINE, AttentionMixture, last_sums, pooled
from dualrec.baselines.baseline import Items, TrainingData
from dualrec.baselines.networks import HistoryBatch
from dualrec.config.settings import BaselineSettings

PUBLISHED = {name: values[0] for name, values in BASELINE.ranges.items()}
SMALL = PUBLISHED | {
    "dimension": 16,
    "levels": 3,
    "heads": 2,
    "window": 5,
    "learning_rate": 0.02,
    "batch_size": 32,
}
ITEMS = Items(np.arange(20), np.zeros((20, 4), np.float32))
CYCLE = [np.arange(start, start + 7) % 20 + 1 for start in range(20)]


def _states(network: AttentionMixture, *rows: list[int]) -> torch.Tensor:
    size = torch.tensor([len(row) for row in rows])
    longest = int(size.max())
    padded = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    return network(HistoryBatch(padded, size, torch.zeros(len(rows), dtype=torch.int64)))


def _network() -> AttentionMixture:
    torch.manual_seed(0)
    return AttentionMixture(ITEMS, SMALL).eval()


def test_a_level_is_the_sum_of_its_last_states_and_of_fewer_in_a_short_history() -> None:
    states = torch.tensor([[1.0, 10.0, 100.0, 1000.0], [1.0, 10.0, -7.0, -7.0]])[..., None]
    sums = last_sums(states, torch.tensor([4, 2]), 3)
    assert sums[..., 0].tolist() == [[1000, 1100, 1110], [10, 11, 11]]


def test_levels_are_pooled_by_their_power_mean_into_weights_of_one() -> None:
    attention = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    first, second = math.sqrt(0.5**2 + 1), 0.5
    expected = torch.tensor([first / (first + second), second / (first + second)])
    torch.testing.assert_close(pooled(attention, 2), expected)


def test_what_no_level_looks_at_weighs_nothing_and_has_a_gradient() -> None:
    attention = torch.tensor([[1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    pooled(attention, 4)[1].backward()
    assert pooled(attention, 4)[1] < 1e-6
    assert attention.grad is not None and attention.grad.isfinite().all()


def test_padding_and_the_rest_of_the_batch_change_nothing() -> None:
    network = _network()
    together = _states(network, [0, 3], [5, 4, 3, 2, 1])
    torch.testing.assert_close(together[:1], _states(network, [0, 3]))


def test_all_of_the_history_counts_not_only_the_levels() -> None:
    network = _network()
    assert not torch.allclose(_states(network, [1, 3, 4, 5]), _states(network, [2, 3, 4, 5]))


def test_order_matters_within_the_levels_only() -> None:
    network = _network()
    one, older_swapped, later_swapped = (
        _states(network, row) for row in ([0, 7, 3, 4, 5], [7, 0, 3, 4, 5], [0, 7, 4, 3, 5])
    )
    torch.testing.assert_close(one, older_swapped)
    assert not torch.allclose(one, later_swapped)  # another item is among the last two


def test_it_learns_what_follows_and_scores_alike_when_it_is_restored() -> None:
    settings = BaselineSettings(epochs=8, patience=8, validation_places=1)
    data = TrainingData(ITEMS, CYCLE[:15] * 2, CYCLE[15:], settings)
    fitted = BASELINE.fit(data, SMALL)
    assert fitted.ndcg_at_10 > 0.9  # guessing gives about 0.3
    scores = BASELINE.scorer(fitted.state, ITEMS, SMALL)([np.array([3, 4, 5])])
    assert scores.shape == (1, 20)
    assert scores.argmax() + 1 == 6
