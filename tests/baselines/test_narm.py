import numpy as np
import torch

from dualrec.baselines.baseline import Items, TrainingData, top_unwatched_items
from dualrec.baselines.narm import BASELINE, AttentiveRecurrence, additive_attention
from dualrec.config.settings import BaselineSettings
from tests.baselines.rows import batch

ITEMS = Items(np.arange(1, 13), np.zeros((12, 4), np.float32))
PARAMETERS = {name: values[0] for name, values in BASELINE.ranges.items()} | {
    "dimension": 16,
    "hidden": 24,
    "window": 8,
    "learning_rate": 0.02,
    "batch_size": 256,
}


def network() -> AttentiveRecurrence:
    torch.manual_seed(0)
    return AttentiveRecurrence(ITEMS, PARAMETERS).eval()


def test_a_place_knows_its_past_and_nothing_after_it_or_beside_it() -> None:
    model = network()
    states = model(batch([0, 3, 5, 7, 9], [1, 2, 4, 6, 8]))
    assert states.shape == (2, 5, 16) and model.scores(states).shape == (2, 5, 12)
    other = model(batch([0, 3, 5, 0, 0]))
    torch.testing.assert_close(states[:1, :3], other[:, :3])
    assert not torch.allclose(states[0, 2], model(batch([0, 4, 5]))[0, 2])


def test_the_state_decodes_the_last_state_beside_the_attention_over_all_states() -> None:
    model = network()
    states = model.recurrence(model.item(torch.tensor([[0, 3, 5]])))[0][0]
    local = sum(
        (model.attention @ torch.sigmoid(model.query.weight @ states[2] + model.key.weight @ state))
        * state
        for state in states
    )
    expected = model.decoder.weight @ torch.cat([states[2], local])
    torch.testing.assert_close(model(batch([0, 3, 5]))[0, 2], expected)


def test_it_learns_what_follows_the_item_before_the_last() -> None:
    random = np.random.default_rng(0)
    histories = []
    for starts in random.integers(6, size=(240, 2)):
        walks = (starts[:, None] + np.arange(4)) % 6 + [
            [1],
            [7],
        ]  # two walks take turns, each in a half of the items
        histories.append(walks.T.ravel())
    data = TrainingData(
        ITEMS,
        histories[:200],
        histories[200:],
        BaselineSettings(epochs=10, patience=10, validation_places=1),
    )
    fitted = BASELINE.fit(data, PARAMETERS)
    assert fitted.ndcg_at_10 > 0.95
    score = BASELINE.scorer(fitted.state, ITEMS, PARAMETERS)
    top = top_unwatched_items(
        score, [np.array([4, 9, 5, 10, 6, 11]), np.array([6, 8, 1, 9, 2, 10])], 1
    )
    assert top.tolist() == [[1], [3]]


def test_each_place_sums_its_past_by_the_weights_of_the_hidden_layer() -> None:
    queries, keys = torch.tensor([[[0.0], [1.0]]]), torch.tensor([[[2.0], [-1.0]]])
    values = torch.tensor([[[1.0, 0.0], [0.0, 10.0]]])
    sums = additive_attention(queries, keys, values, torch.tensor([3.0]))
    one = 3 / (1 + np.exp(-(0 + 2)))
    two = [3 / (1 + np.exp(-(1 + 2))), 10 * 3 / (1 + np.exp(-(1 - 1)))]
    np.testing.assert_allclose(sums[0].numpy(), [[one, 0], two], rtol=1e-6)


def test_it_equals_the_masked_sum_over_all_pairs_of_places() -> None:
    torch.manual_seed(0)
    queries, keys, values, weight = (
        torch.randn(3, 7, 4),
        torch.randn(3, 7, 4),
        torch.randn(3, 7, 5),
        torch.randn(4),
    )
    attention = torch.sigmoid(queries[:, :, None] + keys[:, None]) @ weight
    expected = attention.tril() @ values
    torch.testing.assert_close(additive_attention(queries, keys, values, weight), expected)
