import numpy as np
import pytest
import torch

from dualrec.baselines.baseline import Items, TrainingData
from dualrec.baselines.networks import HistoryBatch
from dualrec.baselines.sasrec import BASELINE, SelfAttention
from dualrec.config.settings import BaselineSettings

N = 20
ITEMS = Items(np.arange(1, N + 1), np.eye(N, dtype=np.float32))
PARAMETERS = {name: values[0] for name, values in BASELINE.ranges.items()} | {
    "dimension": 16,
    "window": 12,
}


@pytest.fixture
def network() -> SelfAttention:
    torch.manual_seed(0)
    return SelfAttention(ITEMS, PARAMETERS).eval()


def _states(network: SelfAttention, *rows: list[int]) -> torch.Tensor:
    length = max(map(len, rows))
    inputs = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    with torch.no_grad():
        return network(
            HistoryBatch(
                inputs,
                torch.tensor([len(row) for row in rows]),
                torch.zeros(len(rows), dtype=torch.long),
            )
        )


def test_every_place_has_a_state_and_every_item_a_score(network: SelfAttention) -> None:
    states = _states(network, [0, 1, 2], [0, 5])
    assert states.shape == (2, 3, 16)
    assert network.scores(states).shape == (2, 3, N)


def test_a_state_sees_nothing_that_comes_after_it(network: SelfAttention) -> None:
    one, other = _states(network, [0, 4, 7, 9, 3]), _states(network, [0, 4, 7, 2, 8])
    assert torch.allclose(one[:, :3], other[:, :3], atol=1e-6)
    assert not torch.allclose(one[:, 3:], other[:, 3:], atol=1e-3)


def test_padding_and_the_rows_beside_change_nothing(network: SelfAttention) -> None:
    alone, beside = _states(network, [0, 4, 7]), _states(network, [0, 4, 7], [0, 1, 2, 3, 4, 5])
    assert torch.allclose(alone[0], beside[0, :3], atol=1e-6)


def test_the_order_of_the_history_matters(network: SelfAttention) -> None:
    one, other = _states(network, [0, 4, 7, 9]), _states(network, [0, 7, 4, 9])
    assert not torch.allclose(one[0, -1], other[0, -1], atol=1e-3)


def test_an_item_scores_the_dot_product_with_its_own_embedding(network: SelfAttention) -> None:
    with torch.no_grad():
        network.item.weight[1:] = torch.arange(1.0, N + 1)[:, None]
        scores = network.scores(torch.tensor([[0.5] * 8 + [0.25] * 8]))
    assert scores.tolist() == [[(8 * 0.5 + 8 * 0.25) * number for number in range(1, N + 1)]]


def test_a_rule_over_the_item_before_the_last_is_learned() -> None:
    """Two walks interleave, at a distance drawn from fifteen: the last item alone allows an NDCG@10
    of 0.3."""
    random = np.random.default_rng(0)
    first, apart = random.integers(N, size=400), random.integers(3, N - 2, size=400)
    walks = np.stack([first, first + apart], axis=1)[:, None] + np.arange(3)[:, None]
    histories = list((walks % N + 1).reshape(400, 6))
    data = TrainingData(
        ITEMS,
        histories[:360],
        histories[360:],
        BaselineSettings(epochs=10, patience=10, validation_places=1),
    )
    fitted = BASELINE.fit(
        data, {**PARAMETERS, "learning_rate": 0.01, "batch_size": 480, "blocks": 1, "dropout": 0.0}
    )
    assert fitted.ndcg_at_10 > 0.9
