from math import log
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from dualrec.sequence.chunks import chunk_histories
from dualrec.sequence.ensemble import SequenceEnsemble, averaged, load_ensemble, save_ensemble
from dualrec.sequence.epoch import evaluate_epoch, train_epoch
from dualrec.sequence.features import item_features
from dualrec.sequence.predict import SequencePredictor
from dualrec.sequence.train import learning_rate
from dualrec.settings import SequenceSettings, load_settings
from tests.conftest import histories_table

CPU = torch.device("cpu")


def _small(*overrides: str) -> SequenceSettings:
    sizes = ["item_dimension=16", "title_dimension=8", "genre_dimension=8", "hidden=[32,16]", "dense=32", "dropout=0.0"]
    return load_settings(None, [f"sequence.{one}" for one in (*sizes, "chunk_length=12", *overrides)]).sequence


def _network(catalogue: pa.Table, settings: SequenceSettings) -> SequenceEnsemble:
    torch.manual_seed(0)
    return SequenceEnsemble(item_features(catalogue, settings), settings)


def test_the_paper_network_has_the_paper_sizes(catalogue: pa.Table) -> None:
    (network,) = _network(catalogue, SequenceSettings(preset="paper")).members
    assert network.first_lstm.input_size == 128 + 64 + 64
    assert (network.first_lstm.hidden_size, network.second_lstm.hidden_size) == (256, 128)
    assert (network.dense.out_features, network.output.out_features) == (256, 6)


def test_the_rate_falls_to_nearly_nothing_unless_it_is_constant() -> None:
    falling = [learning_rate(_small("epochs=10"), epoch) for epoch in range(1, 11)]
    assert falling[0] == SequenceSettings().learning_rate
    assert falling == sorted(falling, reverse=True)
    assert 0 < falling[-1] < 0.05 * falling[0]
    constant = _small("epochs=10", "schedule=constant")
    assert learning_rate(constant, 10) == constant.learning_rate


def test_a_prediction_sees_nothing_that_comes_after_it(catalogue: pa.Table) -> None:
    network = _network(catalogue, _small()).eval()
    one, other = torch.tensor([[0, 1, 2, 3]]), torch.tensor([[0, 1, 2, 6]])
    assert torch.allclose(network(one)[..., :3, :], network(other)[..., :3, :], atol=1e-6)
    assert not torch.allclose(network(one)[..., 3, :], network(other)[..., 3, :], atol=1e-3)


def _batches(catalogue: pa.Table, settings: SequenceSettings, histories: dict[int, list[int]]) -> list[dict]:
    return [chunk_histories(histories_table(histories), item_features(catalogue, settings), settings.chunk_length)]


def test_a_rule_is_learned_and_noise_is_not(catalogue: pa.Table, random: np.random.Generator) -> None:
    settings = _small("learning_rate=0.01")
    cycle = {user: [(user + step) % 6 + 1 for step in range(12)] for user in range(32)}
    noise = {user: random.integers(1, 7, 12).tolist() for user in range(32)}
    unseen_noise = {user: random.integers(1, 7, 12).tolist() for user in range(32)}
    accuracies = []
    for seen, unseen in ((cycle, cycle), (noise, unseen_noise)):
        network = _network(catalogue, settings)
        optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
        for _ in range(60):
            train_epoch(network, _batches(catalogue, settings, seen), optimizer, CPU, 1, settings.ahead)
        totals = evaluate_epoch(network, _batches(catalogue, settings, unseen), CPU, settings.ahead)
        accuracies.append(totals.means("validation")["validation_accuracy"])
    assert accuracies[0] > 0.85
    assert accuracies[1] < 0.35


@pytest.mark.parametrize(
    "changes",
    [
        ["members=[{tied: true}]"],
        ["members=[{ahead: 1}, {ahead: 3}]"],
        ["members=[{tied: true, ahead: 2}]"],
    ],
)
def test_the_rule_is_learned_beyond_the_paper_too(catalogue: pa.Table, changes: list[str]) -> None:
    settings = _small("learning_rate=0.01", *changes)
    cycle = {user: [(user + step) % 6 + 1 for step in range(12)] for user in range(32)}
    network = _network(catalogue, settings)
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate)
    for _ in range(60):
        train_epoch(network, _batches(catalogue, settings, cycle), optimizer, CPU, 1, settings.ahead)
    network.eval()
    probabilities = averaged(network.next_logits(torch.tensor([[0, 1, 2, 3]]), torch.tensor([3])))[0].exp()
    foreseen = max(settings.ahead)
    assert sorted((probabilities.topk(foreseen).indices + 1).tolist()) == list(range(4, 4 + foreseen))
    if len(settings.members) > 1:
        assert probabilities[3] > 0.5 > 0.1 < probabilities[4], "one member foresees the next, the other all three"


def test_a_member_that_looks_ahead_shares_its_loss_over_the_movies_that_come() -> None:
    logits = torch.log(torch.tensor([[[[0.5, 0.25, 0.25], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1]]]]))
    targets = torch.tensor([[1, 2, 0]])
    expected = {1: -log(0.5) - log(0.2), 2: -(log(0.5) + log(0.25)) / 2 - log(0.2)}
    for ahead, loss in expected.items():
        totals = evaluate_epoch(_Fixed(logits), [{"inputs": np.ones((1, 3), np.int64), "targets": targets.numpy(),
                                "size": np.array([3])}], CPU, (ahead,))  # fmt: skip
        assert totals.loss == pytest.approx(loss)
        assert (totals.targets, totals.correct) == (2, 1)


def test_members_share_their_probabilities_equally() -> None:
    logits = torch.log(torch.tensor([[[0.9, 0.1]], [[0.3, 0.7]]]))
    assert torch.allclose(averaged(logits).exp(), torch.tensor([[0.6, 0.4]]))
    assert torch.allclose(averaged(logits[:1]).exp(), torch.tensor([[0.9, 0.1]]))


class _Fixed(torch.nn.Module):
    """Gives the same logits whatever it is shown."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        return self.logits


def test_the_sums_count_real_targets_only(catalogue: pa.Table) -> None:
    settings = _small()
    totals = evaluate_epoch(
        _network(catalogue, settings), _batches(catalogue, settings, {1: [1, 2, 3], 2: [4]}), CPU, settings.ahead
    )
    assert totals.targets == 4
    assert 0 <= totals.correct <= totals.among_five <= 4


def test_a_saved_network_predicts_the_same_and_never_what_was_watched(catalogue: pa.Table, tmp_path: Path) -> None:
    settings = _small("top_k=10")
    network = _network(catalogue, settings).eval()
    path = tmp_path / "model.safetensors"
    save_ensemble(network, path)
    numbers = torch.tensor([[0, 3, 1]])
    assert torch.equal(load_ensemble(path, settings).eval()(numbers), network(numbers))
    predictor = SequencePredictor(path.read_bytes(), settings)
    histories = [np.array([1, 2], np.int64), np.array([], np.int64), np.arange(1, 7, dtype=np.int64)]
    items, scores = predictor.top_items(histories)
    assert [len(row) for row in items] == [4, 6, 0]
    assert set(items[0].tolist()) == {3, 4, 5, 6}
    assert (np.diff(scores[1]) <= 0).all()
    assert np.isclose(scores[1].sum(), 1.0)
    probabilities = predictor.probabilities(histories)
    asked = [np.array([2, 5], np.int64), items[1], np.array([], np.int64)]
    watched_and_not, best, none = predictor.probabilities_of(probabilities, asked)
    assert watched_and_not[0] == 0.0 < watched_and_not[1] <= scores[0].max()
    assert np.array_equal(best, scores[1]) and len(none) == 0
