import numpy as np
import torch

from dualrec.baselines.baseline import Items, TrainingData, top_unwatched_items
from dualrec.baselines.mcprn import BASELINE, PurposeChannels, PurposeRecurrence
from dualrec.config.settings import BaselineSettings
from tests.baselines.rows import batch

ITEMS = Items(np.arange(1, 13), np.zeros((12, 4), np.float32))
PARAMETERS = {name: values[0] for name, values in BASELINE.ranges.items()} | {
    "dimension": 16,
    "window": 8,
    "learning_rate": 0.02,
    "batch_size": 256,
}


def network() -> PurposeChannels:
    torch.manual_seed(0)
    return PurposeChannels(ITEMS, PARAMETERS).eval()


def test_a_place_knows_its_past_and_nothing_after_it_or_beside_it() -> None:
    model = network()
    states = model(batch([0, 3, 5, 7, 9], [1, 2, 4, 6, 8]))
    assert states.shape == (2, 5, 3, 16) and model.scores(states).shape == (2, 5, 12)
    torch.testing.assert_close(states[:1, :3], model(batch([0, 3, 5, 0, 0]))[:, :3])
    assert not torch.allclose(states[0, 2], model(batch([0, 4, 5]))[0, 2])


def test_an_item_moves_a_channel_by_its_weight_there_and_not_at_all_below_the_threshold() -> None:
    torch.manual_seed(0)
    unit = PurposeRecurrence(channels=3, dimension=4)
    torch.nn.init.normal_(unit.bias)
    items, weights = torch.randn(1, 2, 4), torch.tensor([[[1.0, 0.5, 0.009], [0.4, 0.0, 1.0]]])
    states = unit(items, weights)[0]
    for channel in range(3):
        state = torch.zeros(4)
        for place in range(2):
            from_item = items[0, place] @ unit.from_item[channel] + unit.bias[channel, 0]
            gates = torch.sigmoid(from_item[:8] + state @ unit.to_gates[channel])
            candidate = torch.tanh(from_item[8:] + (gates[:4] * state) @ unit.to_candidate[channel])
            weight = weights[0, place, channel]
            move = weight * gates[4:] if weight >= 0.01 else torch.zeros(4)
            state = (1 - move) * state + move * candidate
            torch.testing.assert_close(states[place, channel], state)
    assert (states[0, 2] == 0).all() and (states[1, 1] == states[0, 1]).all()


def test_a_candidate_is_scored_by_the_channels_that_it_would_be_routed_to() -> None:
    model = network()
    state = torch.randn(3, 16)
    for column, item in enumerate(model.item.weight[1:]):
        likeness = torch.exp(model.purpose @ item / 0.1)
        mixture = (likeness / likeness.sum()) @ state
        torch.testing.assert_close(model.scores(state)[column], mixture @ item)


def test_it_learns_what_goes_on_with_each_of_two_walks_that_are_mixed() -> None:
    random = np.random.default_rng(0)
    histories, following = [], []
    for starts in random.integers(6, size=(240, 2)):
        walks = (starts[:, None] + np.arange(5)) % 6 + [[1], [7]]  # each in a half of the items
        turns = random.permutation([0, 1] * 4)
        places = np.where(turns == 0, np.cumsum(turns == 0), np.cumsum(turns == 1)) - 1
        histories.append(walks[turns, places])
        following.append(set(walks[:, -1]))
    data = TrainingData(
        ITEMS, histories[:200], histories[200:], BaselineSettings(epochs=10, patience=10)
    )
    fitted = BASELINE.fit(data, PARAMETERS)
    top = top_unwatched_items(BASELINE.scorer(fitted.state, ITEMS, PARAMETERS), histories[200:], 2)
    assert np.mean([set(two) == both for two, both in zip(top, following[200:], strict=True)]) > 0.9
