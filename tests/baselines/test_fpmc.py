import math

import numpy as np
import pytest
import torch

from dualrec.baselines.baseline import Items, Parameters, TrainingData
from dualrec.baselines.fpmc import BASELINE, NEGATIVES, PersonalizedChain, sampled_ranking_loss
from dualrec.baselines.networks import HistoryBatch
from dualrec.config.settings import BaselineSettings

N, USERS = 12, 5
ITEMS = Items(np.arange(1, N + 1), np.eye(N, dtype=np.float32))
PUBLISHED: Parameters = {name: values[0] for name, values in BASELINE.ranges.items()}
SMALL: Parameters = {**PUBLISHED, "dimension": 8, "learning_rate": 0.02, "batch_size": 80}
CYCLE = [np.arange(start, start + 8) % N + 1 for start in range(N)]


@pytest.fixture
def network() -> PersonalizedChain:
    torch.manual_seed(0)
    network = PersonalizedChain(ITEMS, SMALL)
    network.prepare(CYCLE[:USERS])
    with torch.no_grad():
        network.last.weight.normal_()
        network.next.weight.normal_()
        network.user.weight[1:].normal_()
    return network.eval()


def _scores(network: PersonalizedChain, user: int, *rows: list[int]) -> torch.Tensor:
    longest = max(map(len, rows))
    inputs = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    size = torch.tensor([len(row) for row in rows])
    with torch.no_grad():
        return network.scores(network(HistoryBatch(inputs, size, torch.full((len(rows),), user))))


def test_a_score_is_the_users_taste_and_the_transition_from_the_last_item(
    network: PersonalizedChain,
) -> None:
    scores = _scores(network, 3, [0, 7, 4])
    assert scores.shape == (1, 3, N)
    with torch.no_grad():
        for item in range(N):
            liked, follows = network.next.weight[item].split(8)
            by_hand = network.user.weight[3] @ liked + follows @ network.last.weight[4]
            assert scores[0, 2, item].item() == pytest.approx(by_hand.item(), abs=1e-5)


def test_only_the_last_item_matters_and_neither_what_follows_nor_the_batch(
    network: PersonalizedChain,
) -> None:
    one = _scores(network, 2, [0, 7, 4, 9], [3])
    other = _scores(network, 2, [5, 1, 4])
    torch.testing.assert_close(one[0, 2], other[0, 2])
    torch.testing.assert_close(one[1, 0], _scores(network, 2, [3])[0, 0])


def test_a_user_outside_training_has_no_taste(network: PersonalizedChain) -> None:
    with torch.no_grad():
        transition = network.last.weight[4] @ network.next.weight[:, 8:].T
    torch.testing.assert_close(_scores(network, 0, [0, 4])[0, 1], transition)
    assert not torch.allclose(_scores(network, 1, [0, 4])[0, 1], transition)


def test_the_state_holds_no_taste_of_training_users_and_scores_as_the_network_did(
    network: PersonalizedChain,
) -> None:
    state = network.state_dict()
    assert state["user.weight"].shape == (1, 8)
    assert network.user.weight.shape == (USERS + 1, 8)
    restored = PersonalizedChain(ITEMS, SMALL)
    restored.load_state_dict(state)
    torch.testing.assert_close(_scores(restored, 0, [0, 3, 5]), _scores(network, 0, [0, 3, 5]))


def test_the_loss_compares_the_target_with_others_and_never_with_itself() -> None:
    scores, targets = torch.full((50, 3), 1.0), torch.arange(50) % 3
    scores[torch.arange(50), targets] = 3.0
    assert sampled_ranking_loss(scores, targets).item() == pytest.approx(math.log(1 + math.exp(-2)))


def test_every_other_item_is_drawn_alike() -> None:
    scores = torch.zeros(4000, 5, requires_grad=True)
    torch.manual_seed(0)
    sampled_ranking_loss(scores, torch.full((4000,), 2)).backward()
    assert scores.grad is not None
    shares = scores.grad.sum(0) * 2  # each draw moves its item by half of its share
    torch.testing.assert_close(
        shares, torch.tensor([0.25, 0.25, -1, 0.25, 0.25]), atol=0.01, rtol=0
    )
    assert (scores.grad != 0).sum(1).float().mean() > 2 and NEGATIVES > 1


def test_tastes_are_learned_and_user_0_is_left_without() -> None:
    data = TrainingData(ITEMS, CYCLE[:8], CYCLE[8:], BaselineSettings())
    torch.manual_seed(0)
    network = PersonalizedChain(data.items, SMALL)
    network.prepare(data.training)
    before = network.user.weight.detach().clone()
    batch = HistoryBatch(torch.tensor([[0, 1], [0, 2]]), torch.tensor([2, 2]), torch.tensor([0, 3]))
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.1)
    sampled_ranking_loss(
        network.scores(network(batch)).flatten(0, 1), torch.tensor([0, 1, 1, 2])
    ).backward()
    optimizer.step()
    assert not network.user.weight[0].any()
    assert not torch.equal(network.user.weight[3], before[3])


def test_it_learns_what_follows_and_scores_alike_when_it_is_restored() -> None:
    data = TrainingData(ITEMS, CYCLE[:8] * 6, CYCLE[8:], BaselineSettings(epochs=12, patience=12))
    fitted = BASELINE.fit(data, SMALL)
    assert fitted.ndcg_at_10 > 0.9  # guessing gives about 0.4
    scores = BASELINE.scorer(fitted.state, ITEMS, SMALL)([np.array([9, 4, 5])])
    assert scores.shape == (1, N)
    assert scores.argmax() + 1 == 6
