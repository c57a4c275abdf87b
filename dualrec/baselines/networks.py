"""Train and score any neural baseline: batches, loss, early stopping.

Comes in: histories and a network. Goes out: a fitted baseline. Knows tensors; not user ids, files
or Ray.

A baseline brings a network alone. Its `forward(batch)` returns a state of each history, and
`scores(states)` the score of every item for each state. With `every_position`, forward returns the
state after each position of the inputs, which must not depend on later ones, and every position is
a training target. Otherwise it returns the state of the whole inputs, and training cuts histories
at random positions.

A network may have `prepare(training)`, called once before it learns, to fill its buffers from the
histories; and may set `auxiliary_loss` in forward while it trains, which is added to the loss.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dualrec.baselines.baseline import (
    Baseline,
    FittedBaseline,
    Histories,
    Items,
    Parameters,
    Scorer,
    State,
    TrainingData,
)
from dualrec.sequence.features import START

NetworkBuilder = Callable[[Items, Parameters], nn.Module]
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class HistoryBatch:
    """Histories as a network reads them.

    Attributes:
        inputs: int64 (n, length), item numbers, START before the first; padded with 0 at the end.
        size: int64 (n,), how many inputs each row has, at least one.
        users: int64 (n,), the training user's number from 1; 0 for users that are not trained on.
    """

    inputs: Tensor
    size: Tensor
    users: Tensor


def network_baseline(
    name: str,
    paper: str,
    ranges: dict[str, tuple[int | float | str, ...]],
    build: NetworkBuilder,
    every_position: bool,
    loss: Loss | None = None,
) -> Baseline:
    """Return a baseline that is a network.

    Args:
        ranges: must hold `window` (the most recent inputs to read), `batch_size` (targets, roughly
            so with `every_position`), `learning_rate` and `weight_decay`.
        build: returns the network; randomness is seeded before.
        loss: of scores (n, N) and targets (n,), column numbers; the full softmax by default.
    """
    network = _NetworkKind(build, every_position, loss or functional.cross_entropy)
    return Baseline(name, paper, ranges, partial(_fit, network), partial(_scorer, network))


@dataclass(frozen=True)
class _NetworkKind:
    build: NetworkBuilder
    every_position: bool
    loss: Loss


def _fit(kind: _NetworkKind, data: TrainingData, parameters: Parameters) -> FittedBaseline:
    settings = data.settings
    torch.manual_seed(settings.seed)
    random = np.random.default_rng(settings.seed)
    network = kind.build(data.items, parameters)
    prepare = getattr(network, "prepare", None)
    if prepare is not None:
        prepare(data.training)
    optimizer = torch.optim.AdamW(
        network.parameters(),
        lr=float(parameters["learning_rate"]),
        weight_decay=float(parameters["weight_decay"]),
    )
    epochs: list[dict[str, float]] = []
    best: dict[str, Tensor] = {}
    for epoch in range(1, settings.epochs + 1):
        loss = _train_epoch(kind, network, optimizer, _batches(kind, data, parameters, random))
        ndcg = data.validation_ndcg(_scorer_of(kind, network, int(parameters["window"])))
        if not math.isfinite(loss):
            break
        epochs.append({"epoch": epoch, "loss": loss, "ndcg_at_10": ndcg})
        best_epoch = max(epochs, key=lambda metrics: metrics["ndcg_at_10"])["epoch"]
        if best_epoch == epoch:
            best = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        elif epoch - best_epoch >= settings.patience:
            break
    state = {name: tensor.numpy() for name, tensor in best.items()}
    best_ndcg = max((metrics["ndcg_at_10"] for metrics in epochs), default=0.0)
    return FittedBaseline(state, best_ndcg, epochs)


def _train_epoch(
    kind: _NetworkKind,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[tuple[HistoryBatch, Tensor]],
) -> float:
    """Train on all batches once, and return their mean loss."""
    network.train()
    losses = []
    for batch, targets in batches:
        states = network(batch)
        if kind.every_position:
            real = targets > 0
            states, targets = states[real], targets[real]
        loss = kind.loss(network.scores(states), targets - 1)
        extra = getattr(network, "auxiliary_loss", None)
        optimizer.zero_grad()
        (loss if extra is None else loss + extra).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    return float(np.mean(losses))


def _batches(
    kind: _NetworkKind, data: TrainingData, parameters: Parameters, random: np.random.Generator
) -> Iterator[tuple[HistoryBatch, Tensor]]:
    """Yield the batches of an epoch in random order, each with its targets: (n, length) or (n,)."""
    window, size = int(parameters["window"]), int(parameters["batch_size"])
    if kind.every_position:
        pieces = _pieces(data.training, window, random)
        rows = max(size // window, 1)
    else:
        pieces = _prefixes(data.training, window, data.settings.prefixes_per_epoch, random)
        rows = size
    order = random.permutation(len(pieces))
    for start in range(0, len(order), rows):
        selected = [pieces[index] for index in order[start : start + rows]]
        inputs = [
            np.concatenate([[START], data.training[user][:end]])
            if not begin
            else data.training[user][begin - 1 : end]
            for user, begin, end in selected
        ]
        users = np.array([user + 1 for user, _, _ in selected], np.int64)
        if kind.every_position:
            targets = _padded([data.training[user][begin:end] for user, begin, end in selected])
            yield _batch([numbers[:-1] for numbers in inputs], users), targets
        else:
            targets = torch.tensor([int(numbers[-1]) for numbers in inputs])
            yield _batch([numbers[:-1] for numbers in inputs], users), targets


def _pieces(
    histories: Histories, window: int, random: np.random.Generator
) -> list[tuple[int, int, int]]:
    """Cut every history into pieces (user, begin, end) of at most `window` targets, from a random
    phase on."""
    pieces = []
    for user, numbers in enumerate(histories):
        first = int(random.integers(1, window + 1))
        cuts = [0, *range(first, len(numbers), window), len(numbers)]
        pieces += [(user, begin, end) for begin, end in pairwise(cuts) if end > begin]
    return pieces


def _prefixes(
    histories: Histories, window: int, most: int, random: np.random.Generator
) -> list[tuple[int, int, int]]:
    """Sample (user, begin, end): a random target at end - 1 and the `window` inputs before it."""
    lengths = np.array([len(numbers) for numbers in histories])
    user = np.repeat(np.arange(len(lengths)), lengths)
    end = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths) + 1
    chosen = random.permutation(len(end))[:most]
    return [(int(user[i]), max(int(end[i]) - window, 0), int(end[i])) for i in chosen]


def _scorer(kind: _NetworkKind, state: State, items: Items, parameters: Parameters) -> Scorer:
    network = kind.build(items, parameters)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    return _scorer_of(kind, network, int(parameters["window"]))


def _scorer_of(kind: _NetworkKind, network: nn.Module, window: int) -> Scorer:
    @torch.no_grad()
    def score(histories: Histories) -> np.ndarray:
        network.eval()
        scores = []
        for begin in range(0, len(histories), 128):
            selected = histories[begin : begin + 128]
            inputs = [np.concatenate([[START], numbers])[-window:] for numbers in selected]
            batch = _batch(inputs, np.zeros(len(inputs), np.int64))
            states = network(batch)
            if kind.every_position:
                states = states[torch.arange(len(inputs)), batch.size - 1]
            scores.append(cast(Tensor, network.scores(states)).float().numpy())
        return np.concatenate(scores)

    return score


def _batch(inputs: list[np.ndarray], users: np.ndarray) -> HistoryBatch:
    size = torch.tensor([len(numbers) for numbers in inputs])
    return HistoryBatch(_padded(inputs), size, torch.from_numpy(users))


def _padded(rows: list[np.ndarray]) -> Tensor:
    padded = np.zeros((len(rows), max(map(len, rows))), np.int64)
    for row, numbers in enumerate(rows):
        padded[row, : len(numbers)] = numbers
    return torch.from_numpy(padded)
