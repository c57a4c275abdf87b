"""The training of baselines, with networks so small that inputs and outputs are known."""

import math
from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dualrec.baselines.baseline import Baseline, FittedBaseline, Items, TrainingData
from dualrec.baselines.networks import HistoryBatch, network_baseline
from dualrec.config.settings import BaselineSettings

N = 24
ITEMS = Items(np.arange(1, N + 1) * 10, np.eye(N, dtype=np.float32))
PARAMETERS = {"window": 5, "batch_size": 16, "learning_rate": 0.02, "weight_decay": 0.0}
BOTH = pytest.mark.parametrize("every_position", [True, False])


class LastItem(nn.Module):
    """Predicts from the newest item alone."""

    def __init__(self, every_position: bool) -> None:
        super().__init__()
        self.every_position = every_position
        self.item, self.output = nn.Embedding(N + 1, 8), nn.Linear(8, N)
        self.dropout = nn.Dropout(0.1)

    def forward(self, batch: HistoryBatch) -> Tensor:
        states = self.dropout(self.item(batch.inputs))
        return states if self.every_position else states[torch.arange(len(states)), batch.size - 1]

    def scores(self, states: Tensor) -> Tensor:
        return self.output(states)


class Witness(nn.Module):
    """Notes every batch that it is trained on; its scores are the number of the newest input, for
    the loss to note."""

    def __init__(self, every_position: bool) -> None:
        super().__init__()
        self.every_position = every_position
        self.weight = nn.Parameter(torch.ones(()))
        self.batches: list[HistoryBatch] = []

    def forward(self, batch: HistoryBatch) -> Tensor:
        if self.training:
            self.batches.append(batch)
        states = batch.inputs.float()[..., None] * self.weight
        return states if self.every_position else states[torch.arange(len(states)), batch.size - 1]

    def scores(self, states: Tensor) -> Tensor:
        return states.expand(*states.shape[:-1], N)


class Scripted(nn.Module):
    """After its nth epoch, ranks item 2 where the script says, item 1 being watched."""

    def __init__(self, ranks: list[int]) -> None:
        super().__init__()
        self.ranks = ranks
        self.weight = nn.Parameter(torch.zeros(N))
        self.epoch: Tensor
        self.register_buffer("epoch", torch.tensor(0))

    def train(self, mode: bool = True) -> "Scripted":
        self.epoch += int(mode)
        return super().train(mode)

    def forward(self, batch: HistoryBatch) -> Tensor:
        return torch.zeros(len(batch.inputs), 1)

    def scores(self, states: Tensor) -> Tensor:
        values = -torch.arange(1.0, N + 1)
        values[1] = -2 - self.ranks[int(self.epoch) - 1] + 0.5  # the others are worth -3, -4, ...
        return states * self.weight + values


def _data(training: list[list[int]], validation: list[list[int]], **settings: int) -> TrainingData:
    train, valid = (
        [np.array(numbers, np.int64) for numbers in split] for split in (training, validation)
    )
    return TrainingData(ITEMS, train, valid, BaselineSettings(**settings))


def _cycles(length: int = 12) -> list[list[int]]:
    """After each item comes the next number, after the last the first; one history from every item
    on."""
    histories = []
    for first in range(1, N + 1):
        numbers = [first]
        while len(numbers) < length:
            numbers.append(numbers[-1] % N + 1)
        histories.append(numbers)
    return histories


def _baseline(build: Callable[[], nn.Module], every_position: bool, **options: Any) -> Baseline:
    return network_baseline(
        "Some", "", {}, lambda items, parameters: build(), every_position, **options
    )


def _witnessed(
    data: TrainingData, every_position: bool
) -> tuple[list[HistoryBatch], list[list[tuple[int, int]]]]:
    """The batches of all epochs, and for each the pairs of newest input and target."""
    made: list[Witness] = []
    pairs: list[list[tuple[int, int]]] = []

    def build() -> Witness:
        made.append(Witness(every_position))
        return made[-1]

    def note(scores: Tensor, targets: Tensor) -> Tensor:
        pairs.append(list(zip(scores[:, 0].int().tolist(), (targets + 1).tolist(), strict=True)))
        return scores.sum() * 0

    _baseline(build, every_position, loss=note).fit(data, PARAMETERS)
    return made[0].batches, pairs


def _distinct_histories() -> list[list[int]]:
    """Return histories that share no item, so that a target tells its position; one is empty."""
    return [list(range(1, 13)), [], [13], list(range(14, 25))]


@BOTH
def test_a_cycle_is_learned(every_position: bool) -> None:
    cycles = _cycles()
    baseline = _baseline(lambda: LastItem(every_position), every_position)
    fitted = baseline.fit(_data(cycles[::2], cycles[1::2]), PARAMETERS)
    assert fitted.ndcg_at_10 > 0.99
    assert fitted.epochs[-1]["loss"] < fitted.epochs[0]["loss"] / 2


@BOTH
def test_every_item_is_a_target_once_an_epoch_after_the_item_before_it(
    every_position: bool,
) -> None:
    histories = _distinct_histories()
    wanted = sorted(
        pair for numbers in histories for pair in zip([0, *numbers], numbers, strict=False)
    )
    data = _data(histories, [], epochs=1)
    _, pairs = _witnessed(data, every_position)
    assert sorted(chain.from_iterable(pairs)) == wanted


def test_pieces_are_cut_at_other_places_each_epoch() -> None:
    data = _data([list(range(1, 25))], [], epochs=8, patience=8)
    batches, _ = _witnessed(data, every_position=True)
    assert len({int(row[0]) for batch in batches for row in batch.inputs}) > 5


def test_a_cut_history_ends_before_its_target_and_begins_a_window_before() -> None:
    histories = _distinct_histories()
    batches, pairs = _witnessed(_data(histories, [], epochs=1), every_position=False)
    rows = []
    for batch, targets in zip(batches, pairs, strict=True):
        columns = (batch.inputs.tolist(), batch.size.tolist(), batch.users.tolist())
        for row, (_, target) in zip(zip(*columns, strict=True), targets, strict=True):
            rows.append((*row, target))
    assert len(rows) == N
    for inputs, size, user, target in rows:
        numbers = [0, *histories[user - 1]]
        place = numbers.index(target)
        assert inputs[:size] == numbers[max(place - 5, 0) : place]
        assert not any(inputs[size:])


def test_no_more_cut_histories_are_seen_in_an_epoch_than_asked_for() -> None:
    data = _data(_distinct_histories(), [], epochs=2, patience=2, prefixes_per_epoch=10)
    _, pairs = _witnessed(data, every_position=False)
    assert sum(map(len, pairs)) == 20


def test_no_row_is_longer_than_the_window_and_each_knows_its_user() -> None:
    histories = _distinct_histories()
    batches, _ = _witnessed(_data(histories, [], epochs=3), every_position=True)
    for batch in batches:
        assert batch.inputs.shape[1] <= 5
        for inputs, size, user in zip(
            batch.inputs, batch.size.tolist(), batch.users.tolist(), strict=True
        ):
            assert set(inputs[:size].tolist()) <= {0, *histories[user - 1]}


def test_early_stopping_keeps_the_best_epoch() -> None:
    baseline = _baseline(lambda: Scripted([3, 1, 2, 4, 1]), every_position=False)
    fitted = baseline.fit(_data([[1, 2]], [[1, 2]], patience=2), PARAMETERS)
    measured = [one["ndcg_at_10"] for one in fitted.epochs]
    assert measured == pytest.approx([1 / math.log2(4), 1, 1 / math.log2(3), 1 / math.log2(5)])
    assert fitted.ndcg_at_10 == 1
    assert fitted.state["epoch"] == 2


def test_of_equal_epochs_the_first_is_kept() -> None:
    fitted = _baseline(lambda: Scripted([2, 2, 2, 2]), every_position=False).fit(
        _data([[1, 2]], [[1, 2]], patience=3), PARAMETERS
    )
    assert len(fitted.epochs) == 4
    assert fitted.state["epoch"] == 1


def test_a_fit_that_diverges_ends_with_what_it_had() -> None:
    losses = iter([1.0, math.nan, 1.0])
    baseline = _baseline(
        lambda: Scripted([1, 1, 1]), False, loss=lambda scores, _: scores.sum() * 0 + next(losses)
    )
    fitted = baseline.fit(_data([[1, 2]], [[1, 2]]), PARAMETERS)
    assert len(fitted.epochs) == 1
    assert fitted.state["epoch"] == 1


@BOTH
def test_the_same_seed_finds_the_same_state(every_position: bool) -> None:
    def learn(seed: int) -> FittedBaseline:
        data = _data(_cycles()[::2], _cycles()[1::2], epochs=2, seed=seed)
        return _baseline(lambda: LastItem(every_position), every_position).fit(data, PARAMETERS)

    one, same, other = learn(0), learn(0), learn(1)
    assert one.epochs == same.epochs
    assert all(np.array_equal(one.state[name], same.state[name]) for name in one.state)
    assert not np.array_equal(one.state["item.weight"], other.state["item.weight"])


@BOTH
def test_a_restored_state_scores_as_it_did(every_position: bool) -> None:
    data = _data(_cycles()[::2], _cycles()[1::2], epochs=2)
    baseline = _baseline(lambda: LastItem(every_position), every_position)
    fitted = baseline.fit(data, PARAMETERS)
    torch.manual_seed(1)  # what a scorer gives is in the state alone
    score = baseline.scorer(fitted.state, ITEMS, PARAMETERS)
    assert data.validation_ndcg(score) == fitted.ndcg_at_10
    last = torch.from_numpy(fitted.state["item.weight"][[3]])
    by_hand = last @ fitted.state["output.weight"].T + fitted.state["output.bias"]
    assert np.allclose(score([np.array([5, 3])]), by_hand, atol=1e-6)


@BOTH
def test_a_history_scores_the_same_alone_empty_or_among_others(every_position: bool) -> None:
    baseline = _baseline(lambda: LastItem(every_position), every_position)
    fitted = baseline.fit(_data(_cycles(), _cycles(), epochs=1), PARAMETERS)
    score = baseline.scorer(fitted.state, ITEMS, PARAMETERS)
    random = np.random.default_rng(0)
    histories = [random.integers(1, N + 1, length % 9) for length in range(300)]
    together = score(histories)
    assert together.shape == (300, N) and together.dtype == np.float32
    assert np.isfinite(together).all()
    for place in (0, 1, 8, 150, 299):
        assert np.allclose(together[place], score([histories[place]])[0], atol=1e-6)


def test_the_loss_is_the_softmax_over_all_items_unless_another_is_given() -> None:
    class Even(Scripted):
        def scores(self, states: Tensor) -> Tensor:
            return states * self.weight + torch.zeros(N)

    still = {**PARAMETERS, "learning_rate": 0.0}
    fitted = _baseline(lambda: Even([1]), every_position=False).fit(
        _data([[1, 2]], [], epochs=1), still
    )
    assert fitted.epochs[0]["loss"] == pytest.approx(math.log(N))


def test_a_network_may_read_the_training_histories_before_it_learns() -> None:
    class Counting(Scripted):
        def prepare(self, training: list[np.ndarray]) -> None:
            self.register_buffer("seen", torch.tensor([len(training), int(self.epoch)]))

    fitted = _baseline(lambda: Counting([1]), every_position=False).fit(
        _data([[1, 2], [3]], [[1, 2]], epochs=1), PARAMETERS
    )
    assert fitted.state["seen"].tolist() == [2, 0]


def test_an_auxiliary_loss_is_trained_on_and_not_reported() -> None:
    class Aided(Scripted):
        def forward(self, batch: HistoryBatch) -> Tensor:
            self.auxiliary_loss = (self.weight - 3).square().sum()
            return super().forward(batch)

    fast = {**PARAMETERS, "learning_rate": 0.1}
    baseline = _baseline(lambda: Aided([1] * 5), False, loss=lambda scores, _: scores.sum() * 0 + 7)
    fitted = baseline.fit(_data([[1, 2]], [[1, 2]], epochs=1), fast)
    assert fitted.state["weight"].min() > 0.05
    assert fitted.epochs[0]["loss"] == 7
