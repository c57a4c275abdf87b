import numpy as np
import pytest
import torch

from dualrec.baselines.baseline import Items, Parameters, TrainingData
from dualrec.baselines.networks import HistoryBatch
from dualrec.baselines.unisrec import BASELINE, Adaptor, TextAttention
from dualrec.config.settings import BaselineSettings

KINDS, EACH = 4, 5
N = KINDS * EACH
SMALL = {"dimension": 16, "inner": 16, "experts": 2, "blocks": 1, "window": 8, "batch_size": 240}
PARAMETERS: Parameters = {name: values[0] for name, values in BASELINE.ranges.items()} | SMALL
TEXT_ALONE: Parameters = {**PARAMETERS, "item_ids": 0}


def _items() -> Items:
    """Items 1 to 5 are of one kind, 6 to 10 of the next, ...; the text of an item is its kind and a
    little of its own."""
    text = np.repeat(np.eye(KINDS, 12), EACH, axis=0) + np.random.default_rng(0).normal(
        0, 0.02, (N, 12)
    )
    return Items(
        np.arange(1, N + 1), (text / np.linalg.norm(text, axis=1, keepdims=True)).astype(np.float32)
    )


def _network(parameters: Parameters, items: Items) -> TextAttention:
    torch.manual_seed(0)
    return TextAttention(items, parameters).eval()


def _states(network: TextAttention, *rows: list[int]) -> torch.Tensor:
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


def _random_adaptor() -> tuple[Adaptor, torch.Tensor]:
    torch.manual_seed(0)
    adaptor = Adaptor(6, 4, experts=3, dropout=0.0)
    with torch.no_grad():
        for parameter in adaptor.parameters():
            parameter.normal_()
    return adaptor, torch.randn(5, 6)


def test_the_adaptor_mixes_whitened_texts_by_the_gates_of_the_paper() -> None:
    adaptor, text = _random_adaptor()
    with torch.no_grad():
        mixed = adaptor.eval()(text)
        for row, x in enumerate(text):
            shares = torch.exp(x @ adaptor.gate) / torch.exp(x @ adaptor.gate).sum()
            experts = [(x - adaptor.shift[k]) @ adaptor.weight[k] for k in range(3)]
            by_hand = shares[0] * experts[0] + shares[1] * experts[1] + shares[2] * experts[2]
            assert torch.allclose(mixed[row], by_hand, atol=1e-5)


def test_gates_are_noisy_in_training_by_as_much_as_the_text_says() -> None:
    adaptor, text = _random_adaptor()
    with torch.no_grad():
        assert torch.equal(adaptor.eval().gates(text), adaptor.gates(text))
        quiet = adaptor.gates(text)
        assert not torch.allclose(adaptor.train().gates(text), quiet, atol=1e-2)
        assert torch.allclose(adaptor.gates(text).sum(1), torch.ones(5))
        adaptor.noise.copy_(
            torch.linalg.pinv(text) @ torch.full((5, 3), -30.0)
        )  # softplus(-30) is next to nothing
        assert torch.allclose(adaptor.gates(text), quiet, atol=1e-5)


@pytest.mark.parametrize("parameters", [PARAMETERS, TEXT_ALONE])
def test_a_score_is_the_cosine_over_the_temperature(parameters: Parameters) -> None:
    network = _network(parameters, _items())
    with torch.no_grad():
        vectors = network.item_vectors()
        scores = network.scores(7 * vectors[[2, 11]])
    assert scores.shape == (2, N)
    assert [float(scores[0, 2]), float(scores[1, 11])] == pytest.approx([1 / 0.07] * 2, rel=1e-5)
    cosine = float(vectors[2] @ vectors[11]) / float(vectors[2].norm() * vectors[11].norm())
    assert float(scores[0, 11]) == pytest.approx(cosine / 0.07, rel=1e-4)


def test_a_state_sees_nothing_that_comes_after_it() -> None:
    network = _network(PARAMETERS, _items())
    one, other = _states(network, [0, 4, 7, 9, 3]), _states(network, [0, 4, 7, 12, 18])
    assert torch.allclose(one[:, :3], other[:, :3], atol=1e-6)
    assert not torch.allclose(one[:, 3:], other[:, 3:], atol=1e-3)


def test_padding_and_the_rows_beside_change_nothing() -> None:
    network = _network(PARAMETERS, _items())
    alone, beside = _states(network, [0, 4, 7]), _states(network, [0, 4, 7], [0, 1, 2, 3, 4, 5])
    assert torch.allclose(alone[0], beside[0, :3], atol=1e-6)


def test_items_of_one_text_are_one_unless_they_have_ids() -> None:
    items = _items()
    text = items.text_vectors.copy()
    text[4] = text[3]
    twins = Items(items.item_ids, text)
    inductive, transductive = _network(TEXT_ALONE, twins), _network(PARAMETERS, twins)
    with torch.no_grad():
        assert torch.equal(inductive.item_vectors()[3], inductive.item_vectors()[4])
        assert not torch.allclose(
            transductive.item_vectors()[3], transductive.item_vectors()[4], atol=1e-3
        )
    assert torch.equal(_states(inductive, [0, 4]), _states(inductive, [0, 5]))
    assert not torch.allclose(
        _states(transductive, [0, 4]), _states(transductive, [0, 5]), atol=1e-3
    )


def test_the_start_is_no_item() -> None:
    network = _network(TEXT_ALONE, _items())
    before = _states(network, [0, 4])
    with torch.no_grad():
        network.start += torch.randn_like(network.start)
        assert not torch.allclose(_states(network, [0, 4]), before, atol=1e-3)
        assert len(network.item_vectors()) == N


def test_items_that_nobody_watched_are_found_by_their_text() -> None:
    """An item of each kind is in no history; what follows a kind is the next kind."""
    items, random = _items(), np.random.default_rng(0)

    def history(among: int) -> np.ndarray:
        kinds = (random.integers(KINDS) + np.arange(5)) % KINDS
        return kinds * EACH + 1 + random.integers(among, size=5)

    seen = [history(EACH - 1) for _ in range(500)]
    data = TrainingData(items, seen[:400], seen[400:], BaselineSettings(epochs=8, patience=8))
    fast = {**TEXT_ALONE, "learning_rate": 0.01, "dropout": 0.0}
    fitted = BASELINE.fit(data, fast)
    assert "text" not in fitted.state
    score = BASELINE.scorer(fitted.state, items, fast)
    for kind in range(KINDS):
        unseen = np.arange(1, KINDS + 1) * EACH
        best = score([np.array([kind * EACH + 1])])[0, unseen - 1].argmax()
        assert best == (kind + 1) % KINDS
