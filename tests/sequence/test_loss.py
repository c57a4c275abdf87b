"""The loss in pieces and among a sample, against the plain one."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dualrec.config.settings import SequenceSettings, load_settings
from dualrec.sequence import softmax
from dualrec.sequence.chunks import chunk_histories, target_counts
from dualrec.sequence.epoch import evaluate_sequence_epoch
from dualrec.sequence.features import ItemFeatures, item_features
from dualrec.sequence.loss import EnsembleLoss, next_targets
from dualrec.sequence.negatives import (
    sample_items,
    sampled_losses,
    sampled_softmax,
    sampling_distribution,
)
from dualrec.sequence.network import SequenceEnsemble, mean_log_probabilities
from dualrec.sequence.softmax import LogitFactors
from tests.conftest import histories_table

CPU = torch.device("cpu")
ITEMS = 50
MEMBERS = "members=[{}, {tied: true}, {ahead: 3}, {tied: true, ahead: 5}]"


def _settings(*overrides: str) -> SequenceSettings:
    sizes = [
        "item_dimension=16",
        "title_dimension=8",
        "genre_dimension=8",
        "hidden=[32,16]",
        "dense=24",
        "dropout=0.0",
    ]
    return load_settings(
        None, [f"sequence.{one}" for one in (*sizes, "chunk_length=12", *overrides)]
    ).sequence


def _ensemble(settings: SequenceSettings) -> SequenceEnsemble:
    random = np.random.default_rng(1)
    words = random.integers(0, 30, (ITEMS + 1, settings.title_length))
    genres = random.integers(0, 2, (ITEMS + 1, 3)).astype(np.float32)
    torch.manual_seed(0)
    return SequenceEnsemble(ItemFeatures(np.arange(ITEMS), words, genres), settings)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    """Seven chunks of up to nine targets."""
    random = np.random.default_rng(2)
    targets = random.integers(1, ITEMS + 1, (7, 9))
    targets[np.arange(9) >= random.integers(1, 10, 7)[:, None]] = 0
    return torch.from_numpy(random.integers(0, ITEMS + 1, (7, 9))), torch.from_numpy(targets)


def _plain(
    ensemble: SequenceEnsemble, settings: SequenceSettings, inputs: Tensor, targets: Tensor
) -> Tensor:
    """The loss as it is defined: every logit at once, one target after another."""
    logits = ensemble(inputs)
    losses = []
    for member, future_targets in enumerate(settings.future_targets):
        for row, place in (targets > 0).nonzero().tolist():
            wanted = targets[row, place : place + future_targets]
            wanted = wanted[wanted > 0] - 1
            each = logits[member, row, place].expand(len(wanted), -1)
            losses.append(functional.cross_entropy(each, wanted))
    return torch.stack(losses).sum() / len(settings.members)


def _gradients(loss: Tensor, ensemble: SequenceEnsemble) -> dict[str, Tensor]:
    ensemble.zero_grad()
    loss.backward()
    return {
        name: weight.grad.clone()
        for name, weight in ensemble.named_parameters()
        if weight.grad is not None
    }


@pytest.mark.parametrize("rows", [1, 4, 1000])
def test_in_pieces_the_loss_and_its_gradients_are_the_plain_ones(
    batch: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(softmax, "MOST_LOGITS", rows * ITEMS)
    settings = _settings(MEMBERS)
    ensemble = _ensemble(settings)
    plain = _plain(ensemble, settings, *batch)
    loss, sums = EnsembleLoss(ensemble, settings)(*batch)
    assert torch.isclose(loss, plain, rtol=1e-5)
    expected, found = _gradients(plain / 7, ensemble), _gradients(loss / 7, ensemble)
    assert expected.keys() == found.keys() == dict(ensemble.named_parameters()).keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-3, atol=1e-6), name
    real = batch[1] > 0
    best = (
        mean_log_probabilities(ensemble(batch[0])[:, real]).topk(5).indices
        == (batch[1][real] - 1)[:, None]
    )
    assert sums.tolist()[1:] == [best[:, 0].sum(), best.sum(), real.sum(), real.sum()]


def test_no_more_logits_are_computed_at_a_time_than_are_allowed(
    batch: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(softmax, "MOST_LOGITS", 4 * ITEMS)
    settings = _settings(MEMBERS)
    summed_loss = EnsembleLoss(_ensemble(settings), settings)
    sizes, (piece, sampled) = [], summed_loss.pieces

    def counted(*given: Tensor) -> tuple[Tensor, Tensor]:
        losses, probabilities = piece(*given)
        sizes.append(probabilities.numel())
        return losses, probabilities

    summed_loss.pieces = (counted, sampled)
    summed_loss(*batch)[0].backward()
    assert max(sizes) == 4 * ITEMS
    assert sum(sizes) == 4 * ITEMS * int((batch[1] > 0).sum()), "each logit is computed once"


def _random_factors(rows: int, future_targets: int, seed: int = 3) -> tuple[LogitFactors, Tensor]:
    """Random queries and vectors of all items, and the targets of each row."""
    generator = torch.Generator().manual_seed(seed)
    queries, vectors = (torch.randn(size, 6, generator=generator) for size in (rows, ITEMS))
    targets = torch.randint(1, ITEMS + 1, (rows, future_targets), generator=generator)
    return LogitFactors(
        queries, vectors, torch.randn(ITEMS, generator=generator), future_targets
    ), targets


def _sampled(factors: LogitFactors, targets: Tensor, distribution: Tensor, count: int) -> Tensor:
    sampled = sample_items(distribution, count, targets)
    own = LogitFactors(
        factors.queries,
        factors.vectors[sampled.items],
        factors.bias[sampled.items],
        factors.future_targets,
    )
    return sampled_softmax([own], targets, sampled, sampled_losses)


@pytest.mark.parametrize("power", [0.0, 0.75, 1.0])
@pytest.mark.parametrize("future_targets", [1, 4])
def test_however_items_are_drawn_many_of_them_give_the_loss_among_all(
    power: float, future_targets: int
) -> None:
    torch.manual_seed(0)
    factors, targets = _random_factors(30, future_targets)
    targets[::3, 1:] = 0
    distribution = torch.from_numpy(sampling_distribution(np.arange(ITEMS) ** 2, power))
    exact, _ = softmax.full_softmax([factors], targets, softmax.losses_and_probabilities)
    assert torch.isclose(_sampled(factors, targets, distribution, 1_000_000), exact, rtol=0.003)


def test_few_items_estimate_without_bias_what_the_softmax_divides_by() -> None:
    torch.manual_seed(0)
    factors, targets = _random_factors(1, 2)
    distribution = torch.from_numpy(sampling_distribution(np.arange(ITEMS), 0.75))
    logits = (factors.queries @ factors.vectors.T + factors.bias)[0]
    own = logits[targets[0] - 1].mean()
    estimates = torch.stack(
        [(_sampled(factors, targets, distribution, 5) + own).exp() for _ in range(4000)]
    )
    error = float(estimates.std()) / 4000**0.5
    assert abs(float(estimates.mean() - logits.exp().sum())) < 4 * error
    assert 4 * error < 0.1 * logits.exp().sum()


def test_a_wanted_movie_that_was_drawn_too_counts_once() -> None:
    factors, targets = _random_factors(4, 3)
    targets[1, 2] = targets[1, 0]
    targets[2, 1:] = 0
    distribution = torch.zeros(ITEMS, dtype=torch.float64)
    distribution[targets[0] - 1] = 1 / 3  # nothing is sampled but the first row's targets
    torch.manual_seed(0)
    sampled = sample_items(distribution, 3, targets[:1])
    logits = factors.queries @ factors.vectors.T + factors.bias
    first = _sampled(
        LogitFactors(factors.queries[:1], factors.vectors, factors.bias, 3),
        targets[:1],
        distribution,
        3,
    )
    target_logits = logits[0, targets[0] - 1]
    assert len(sampled.columns) > 0
    assert torch.isclose(first, target_logits.logsumexp(0) - target_logits.mean(), rtol=1e-4)


def test_a_sample_in_pieces_has_the_same_loss_and_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    factors, targets = _random_factors(30, 4)
    distribution = torch.from_numpy(sampling_distribution(np.arange(ITEMS), 0.75))
    found = []
    for most in (2**24, 200):
        monkeypatch.setattr(softmax, "MOST_LOGITS", most)
        torch.manual_seed(0)
        leaves = [
            tensor.clone().requires_grad_()
            for tensor in (factors.queries, factors.vectors, factors.bias)
        ]
        loss = _sampled(LogitFactors(*leaves, 4), targets, distribution, 20)
        loss.backward()
        found.append([loss.detach(), *(leaf.grad for leaf in leaves)])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)


def test_the_same_seed_draws_the_same_and_popular_items_are_drawn_more_often() -> None:
    distribution = torch.from_numpy(sampling_distribution(np.arange(ITEMS) ** 3, 1.0))
    targets = torch.tensor([[1]])
    samples = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        samples.append(sample_items(distribution, 20, targets).items)
    assert torch.equal(samples[0], samples[1]) and not torch.equal(samples[0], samples[2])
    assert all((sampled[1:] > ITEMS // 2).float().mean() > 0.8 for sampled in samples)
    assert (
        0
        < sampling_distribution(np.array([0, 9]), 0.5)[0]
        < sampling_distribution(np.array([0, 9]), 0.5)[1]
    )
    assert sampling_distribution(np.array([0, 9]), 0.0).tolist() == [0.5, 0.5]


def test_items_are_counted_where_they_are_targets(catalog: pa.Table) -> None:
    features = item_features(catalog, SequenceSettings())
    chunks = chunk_histories(histories_table({1: [1, 2, 3], 2: [3], 3: [2, 3, 6]}), features, 2)
    assert target_counts(chunks, 6)["counts"].tolist() == [[1, 2, 3, 0, 0, 1]]


def _chunks(targets: Tensor, inputs: Tensor) -> list[dict[str, np.ndarray]]:
    return [
        {"inputs": inputs.numpy(), "targets": targets.numpy(), "size": (targets > 0).sum(1).numpy()}
    ]


@pytest.mark.parametrize(
    "changes", [["negatives=5"], ["dtype=bfloat16"], ["negatives=5", "dtype=bfloat16"]]
)
def test_what_is_cheaper_in_training_leaves_the_validation_exact(
    batch: tuple[Tensor, Tensor], changes: list[str]
) -> None:
    exact, cheaper = _settings(MEMBERS), _settings(MEMBERS, *changes)
    inputs, targets = batch
    counts = np.ones(ITEMS, np.int64)
    expected, found = (
        evaluate_sequence_epoch(
            EnsembleLoss(_ensemble(settings), settings, counts), _chunks(targets, inputs), CPU
        )
        for settings in (exact, cheaper)
    )
    assert found.means("validation") == expected.means("validation")
    in_training = EnsembleLoss(_ensemble(cheaper), cheaper, counts).train()(inputs, targets)[0]
    assert float(in_training.detach()) != expected.loss


def test_bfloat16_comes_close_and_keeps_weights_and_gradients_in_float32(
    batch: tuple[Tensor, Tensor],
) -> None:
    exact, lower = _settings(MEMBERS), _settings(MEMBERS, "dtype=bfloat16")
    ensemble = _ensemble(exact)
    expected = EnsembleLoss(ensemble, exact)(*batch)[0]
    expected_gradients = _gradients(expected, ensemble)
    found = EnsembleLoss(ensemble, lower)(*batch)[0]
    gradients = _gradients(found, ensemble)
    assert torch.isclose(found, expected, rtol=0.01)
    assert {gradient.dtype for gradient in gradients.values()} == {torch.float32}
    one, other = (
        torch.cat([value.flatten() for value in each.values()])
        for each in (gradients, expected_gradients)
    )
    assert functional.cosine_similarity(one, other, dim=0) > 0.99


def test_the_next_targets_end_with_the_chunk() -> None:
    found = next_targets(torch.tensor([[4, 5, 6, 0]]), 3)[0].tolist()
    assert found == [[4, 5, 6], [5, 6, 0], [6, 0, 0], [0, 0, 0]]
