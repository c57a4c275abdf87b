import numpy as np
import torch

from dualrec.baselines.baseline import Items, TrainingData
from dualrec.baselines.stamp import BASELINE, AttentionMemory
from dualrec.config.settings import BaselineSettings
from tests.baselines.rows import batch

ITEMS = Items(np.arange(1, 13), np.zeros((12, 4), np.float32))
PARAMETERS = {name: values[0] for name, values in BASELINE.ranges.items()} | {
    "dimension": 32,
    "window": 8,
    "learning_rate": 0.01,
    "batch_size": 128,
}


def network() -> AttentionMemory:
    """With weights so large that every term counts."""
    torch.manual_seed(0)
    model = AttentionMemory(ITEMS, PARAMETERS).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def test_a_place_knows_its_past_and_nothing_after_it_or_beside_it() -> None:
    model = network()
    states = model(batch([0, 3, 5, 7, 9], [1, 2, 4, 6, 8]))
    assert states.shape == (2, 5, 32) and model.scores(states).shape == (2, 5, 12)
    torch.testing.assert_close(states[:1, :3], model(batch([0, 3, 5, 0, 0]))[:, :3])
    assert not torch.allclose(states[0, 2], model(batch([0, 4, 5]))[0, 2])


def test_the_score_is_the_trilinear_product_of_memory_last_item_and_candidate() -> None:
    model = network()
    items = model.item.weight[[0, 3, 5]]
    mean, last = items.mean(0), items[2]
    bias = model.mean_query.bias
    query = model.last_query.weight @ last + model.mean_query.weight @ mean + bias
    memory = sum(
        (model.attention @ torch.sigmoid(model.key.weight @ item + query)) * item for item in items
    )
    general = torch.tanh(model.general.weight @ memory + model.general.bias)
    current = torch.tanh(model.current.weight @ last + model.current.bias)
    expected = torch.stack(
        [(general * current * model.item.weight[item]).sum() for item in range(1, 13)]
    )
    torch.testing.assert_close(model.scores(model(batch([0, 3, 5]))[0, 2]), expected)


def test_it_learns_what_follows_the_last_item_where_those_before_it_give_the_step() -> None:
    random = np.random.default_rng(0)
    histories = [
        (random.integers(12) + random.choice([1, 5]) * np.arange(5)) % 12 + 1 for _ in range(240)
    ]
    data = TrainingData(
        ITEMS, histories[:200], histories[200:], BaselineSettings(epochs=20, patience=20)
    )
    fitted = BASELINE.fit(data, PARAMETERS)
    assert fitted.ndcg_at_10 > 0.95  # 0.82 is what the last item alone reaches
    scores = BASELINE.scorer(fitted.state, ITEMS, PARAMETERS)(
        [np.array([1, 2, 3, 4]), np.array([1, 6, 11, 4])]
    )
    assert (scores.argmax(1) + 1).tolist() == [5, 9]
