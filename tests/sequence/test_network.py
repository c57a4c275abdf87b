from math import log
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from dualrec.config.settings import SequenceSettings, load_settings
from dualrec.sequence import predict
from dualrec.sequence.chunks import chunk_histories, last_inputs
from dualrec.sequence.epoch import evaluate_sequence_epoch, train_sequence_epoch
from dualrec.sequence.features import item_features
from dualrec.sequence.loss import EnsembleLoss
from dualrec.sequence.network import (
    SequenceEnsemble,
    SequenceNetwork,
    load_ensemble,
    mean_log_probabilities,
    save_ensemble,
)
from dualrec.sequence.predict import SequencePredictor
from dualrec.sequence.softmax import LogitFactors, full_softmax, losses_and_probabilities
from dualrec.sequence.worker import scheduled_learning_rate
from tests.conftest import histories_table

CPU = torch.device("cpu")


def _small(*overrides: str) -> SequenceSettings:
    sizes = [
        "item_dimension=16",
        "title_dimension=8",
        "genre_dimension=8",
        "hidden=[32,16]",
        "dense=32",
        "dropout=0.0",
    ]
    return load_settings(
        None, [f"sequence.{one}" for one in (*sizes, "chunk_length=12", *overrides)]
    ).sequence


def _network(catalog: pa.Table, settings: SequenceSettings) -> SequenceEnsemble:
    torch.manual_seed(0)
    return SequenceEnsemble(item_features(catalog, settings), settings)


def test_the_paper_network_has_the_paper_sizes(catalog: pa.Table) -> None:
    (network,) = _network(catalog, SequenceSettings(preset="paper")).members
    assert network.first_lstm.input_size == 128 + 64 + 64
    assert (network.first_lstm.hidden_size, network.second_lstm.hidden_size) == (256, 128)
    assert (network.dense.out_features, network.output.out_features) == (256, 6)


def test_the_rate_falls_to_nearly_nothing_unless_it_is_constant() -> None:
    falling = [scheduled_learning_rate(_small("epochs=10"), epoch) for epoch in range(1, 11)]
    assert falling[0] == SequenceSettings().learning_rate
    assert falling == sorted(falling, reverse=True)
    assert 0 < falling[-1] < 0.05 * falling[0]
    constant = _small("epochs=10", "schedule=constant")
    assert scheduled_learning_rate(constant, 10) == constant.learning_rate


def test_a_prediction_sees_nothing_that_comes_after_it(catalog: pa.Table) -> None:
    network = _network(catalog, _small()).eval()
    one, other = torch.tensor([[0, 1, 2, 3]]), torch.tensor([[0, 1, 2, 6]])
    assert torch.allclose(network(one)[..., :3, :], network(other)[..., :3, :], atol=1e-6)
    assert not torch.allclose(network(one)[..., 3, :], network(other)[..., 3, :], atol=1e-3)


def _batches(
    catalog: pa.Table, settings: SequenceSettings, histories: dict[int, list[int]]
) -> list[dict]:
    return [
        chunk_histories(
            histories_table(histories), item_features(catalog, settings), settings.chunk_length
        )
    ]


def test_a_rule_is_learned_and_noise_is_not(catalog: pa.Table, random: np.random.Generator) -> None:
    settings = _small("learning_rate=0.01")
    cycle = {user: [(user + step) % 6 + 1 for step in range(12)] for user in range(32)}
    noise = {user: random.integers(1, 7, 12).tolist() for user in range(32)}
    unseen_noise = {user: random.integers(1, 7, 12).tolist() for user in range(32)}
    accuracies = []
    for seen, unseen in ((cycle, cycle), (noise, unseen_noise)):
        network = _network(catalog, settings)
        summed_loss = EnsembleLoss(network, settings)
        optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
        for _ in range(60):
            train_sequence_epoch(summed_loss, _batches(catalog, settings, seen), optimizer, CPU, 1)
        totals = evaluate_sequence_epoch(summed_loss, _batches(catalog, settings, unseen), CPU)
        accuracies.append(totals.means("validation")["validation_accuracy"])
    assert accuracies[0] > 0.85
    assert accuracies[1] < 0.35


@pytest.mark.parametrize(
    "changes",
    [
        ["members=[{tied: true}]"],
        ["members=[{ahead: 1}, {ahead: 3}]"],
        ["members=[{tied: true, ahead: 2}]"],
        ["members=[{ahead: 1}, {ahead: 3}]", "negatives=4"],
        ["members=[{ahead: 1}, {tied: true, ahead: 3}]", "dtype=bfloat16"],
    ],
)
def test_the_rule_is_learned_beyond_the_paper_too(catalog: pa.Table, changes: list[str]) -> None:
    settings = _small("learning_rate=0.01", *changes)
    cycle = {user: [(user + step) % 6 + 1 for step in range(12)] for user in range(32)}
    network = _network(catalog, settings)
    summed_loss = EnsembleLoss(network, settings, np.full(6, 64))
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate)
    for _ in range(60):
        train_sequence_epoch(summed_loss, _batches(catalog, settings, cycle), optimizer, CPU, 1)
    network.eval()
    probabilities = mean_log_probabilities(
        network.next_logits(torch.tensor([[0, 1, 2, 3]]), torch.tensor([3]))
    )[0].exp()
    foreseen = max(settings.future_targets)
    assert sorted((probabilities.topk(foreseen).indices + 1).tolist()) == list(
        range(4, 4 + foreseen)
    )
    if len(settings.members) > 1:
        assert probabilities[3] > 0.5 > 0.1 < probabilities[4], (
            "one member foresees the next, the other all three"
        )


@pytest.mark.parametrize("future_targets", [1, 2])
def test_a_member_that_looks_ahead_shares_its_loss_over_the_movies_that_come(
    future_targets: int,
) -> None:
    probabilities = torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]])
    member = LogitFactors(torch.eye(2), probabilities.log().T, torch.zeros(3), future_targets)
    loss, hits = full_softmax(
        [member], torch.tensor([[1, 2], [2, 0]])[:, :future_targets], losses_and_probabilities
    )
    expected = {1: -log(0.5) - log(0.2), 2: -(log(0.5) + log(0.25)) / 2 - log(0.2)}
    assert float(loss) == pytest.approx(expected[future_targets])
    assert hits.tolist() == [1, 2]


def test_members_share_their_probabilities_equally() -> None:
    logits = torch.log(torch.tensor([[[0.9, 0.1]], [[0.3, 0.7]]]))
    assert torch.allclose(mean_log_probabilities(logits).exp(), torch.tensor([[0.6, 0.4]]))
    assert torch.allclose(mean_log_probabilities(logits[:1]).exp(), torch.tensor([[0.9, 0.1]]))


def test_the_sums_count_real_targets_only(catalog: pa.Table) -> None:
    settings = _small()
    totals = evaluate_sequence_epoch(
        EnsembleLoss(_network(catalog, settings), settings),
        _batches(catalog, settings, {1: [1, 2, 3], 2: [4]}),
        CPU,
    )
    assert totals.targets == 4
    assert 0 <= totals.correct <= totals.top5_correct <= 4


def test_a_saved_network_predicts_the_same_and_never_what_was_watched(
    catalog: pa.Table, tmp_path: Path
) -> None:
    settings = _small("top_k=10")
    network = _network(catalog, settings).eval()
    path = tmp_path / "model.safetensors"
    save_ensemble(network, path)
    numbers = torch.tensor([[0, 3, 1]])
    assert torch.equal(load_ensemble(path, settings).eval()(numbers), network(numbers))
    predictor = SequencePredictor(path.read_bytes(), settings)
    histories = [
        np.array([1, 2], np.int64),
        np.array([], np.int64),
        np.arange(1, 7, dtype=np.int64),
    ]
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


@pytest.mark.parametrize("preset", ["preset=paper", "preset=improved"])
def test_few_histories_are_scored_at_a_time_and_as_the_networks_score_them_all(
    catalog: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: str
) -> None:
    settings = _small("top_k=4", preset)
    network, path = _network(catalog, settings).eval(), tmp_path / "model.safetensors"
    save_ensemble(network, path)
    predictor = SequencePredictor(path.read_bytes(), settings)
    histories = [np.arange(1, 1 + watched, dtype=np.int64) for watched in (2, 0, 5, 1, 3, 6, 2)]
    numbers, last = last_inputs(histories, predictor.features, settings.chunk_length)
    with torch.no_grad():
        logits = network.next_logits(torch.from_numpy(numbers), torch.from_numpy(last))
    for row, watched in enumerate(histories):
        logits[:, row, watched - 1] = -torch.inf
    expected = torch.nan_to_num(
        mean_log_probabilities(logits).exp()
    )  # the sixth has watched everything

    computed: list[torch.Tensor] = []
    score = SequenceNetwork.score

    def counted(self: SequenceNetwork, *given: torch.Tensor) -> torch.Tensor:
        computed.append(found := score(self, *given))
        return found

    monkeypatch.setattr(SequenceNetwork, "score", counted)
    monkeypatch.setattr(predict, "MOST_SCORED_LOGITS", 3 * len(settings.members) * 6)
    assert torch.allclose(torch.nan_to_num(predictor.probabilities(histories)), expected, atol=1e-7)
    items, scores = predictor.top_items(histories)
    assert [len(row) for row in items] == [4, 4, 1, 4, 3, 0, 4]
    for row, ids, of_row in zip(expected, items, scores, strict=True):
        assert np.allclose(row.sort(descending=True).values[: len(ids)], of_row, atol=1e-7)
        assert np.allclose(row[ids - 1], of_row, atol=1e-7)
    assert {len(found) for found in computed} == {3, 1}, "seven histories, three at a time"


def test_without_histories_there_are_no_predictions(catalog: pa.Table, tmp_path: Path) -> None:
    settings, path = _small(), tmp_path / "model.safetensors"
    save_ensemble(_network(catalog, settings), path)
    predictor = SequencePredictor(path.read_bytes(), settings)
    assert predictor.top_items([]) == ([], [])
    assert predictor.probabilities([]).shape == (0, 6)
