"""Training's loss over large catalogs: among all items at once, in pieces, and among a sample.

Whole training steps of one network on random histories, each measurement in a process of its own,
by turns. Prints the medians of targets a second, how many times those of the plain loss they are,
and the memory that the steps added at their peak. A target is a place of a history with a movie
that comes next; the same batches go to each way.

    python scripts/bench_softmax.py --items 1000 20000 87585 --chunks 8 --seconds 5
"""

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from dualrec.config.settings import SequenceSettings, load_settings
from dualrec.sequence.chunks import ChunkBatch
from dualrec.sequence.epoch import train_sequence_epoch
from dualrec.sequence.features import ItemFeatures
from dualrec.sequence.loss import EnsembleLoss
from dualrec.sequence.network import SequenceEnsemble

LENGTH = 100  # targets a chunk
CPU = torch.device("cpu")


class PlainLoss(nn.Module):
    """Every logit of the batch at once, and autograd for the rest."""

    def __init__(self, ensemble: SequenceEnsemble) -> None:
        super().__init__()
        self.ensemble = ensemble

    def forward(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """As EnsembleLoss does, of one network that foresees one movie."""
        real = targets > 0
        logits, wanted = self.ensemble(inputs)[0][real], targets[real] - 1
        loss = functional.cross_entropy(logits, wanted, reduction="sum")
        best = logits.detach().topk(5).indices == wanted[:, None]
        sums = (loss.detach(), best[:, 0].sum(), best.sum(), len(wanted), len(wanted))
        return loss, torch.tensor([float(one) for one in sums], dtype=torch.float64)


def random_features(items: int, settings: SequenceSettings) -> ItemFeatures:
    """Four words and two genres of twenty for each item."""
    random = np.random.default_rng(0)
    words = np.zeros((items + 1, settings.title_length), np.int64)
    words[1:, :4] = random.integers(1, settings.title_vocabulary, (items, 4))
    genres = np.zeros((items + 1, 20), np.float32)
    genres[np.arange(1, items + 1)[:, None], random.integers(0, 20, (items, 2))] = 1
    return ItemFeatures(np.arange(items), words, genres)


def random_batches(items: int, chunks: int) -> Iterator[ChunkBatch]:
    """Histories in which item i is watched in proportion to 1 / (i + 10)."""
    random, chance = np.random.default_rng(1), 1 / (np.arange(items) + 10)
    while True:
        watched = random.choice(items, (chunks, LENGTH + 1), p=chance / chance.sum()) + 1
        yield {
            "inputs": watched[:, :-1],
            "targets": watched[:, 1:],
            "size": np.full(chunks, LENGTH),
        }


def measured(way: str, items: int, arguments: argparse.Namespace) -> tuple[float, float]:
    """Targets a second of one way, and the GiB that its steps added at their peak to what the
    network takes."""
    torch.set_num_threads(arguments.threads)
    sample = arguments.negatives if way == "sampled" else 0
    member = f"sequence.members=[{{tied: {str(arguments.tied).lower()}}}]"
    settings = load_settings(None, [member, f"sequence.negatives={sample}"]).sequence
    torch.manual_seed(0)
    ensemble = SequenceEnsemble(random_features(items, settings), settings)
    counts = 1_000_000 // (np.arange(items) + 10)
    loss = PlainLoss(ensemble) if way == "plain" else EnsembleLoss(ensemble, settings, counts)
    optimizer = torch.optim.AdamW(loss.parameters(), lr=settings.learning_rate)
    batches, before = random_batches(items, arguments.chunks), _peak_gib()
    train_sequence_epoch(loss, [next(batches)], optimizer, CPU, 1)
    targets, started = 0.0, time.perf_counter()
    while (spent := time.perf_counter() - started) < arguments.seconds:
        targets += train_sequence_epoch(loss, [next(batches)], optimizer, CPU, 1).targets
    return targets / spent, _peak_gib() - before


def _peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _apart(measure: Callable[..., tuple[float, float]], *given: object) -> tuple[float, float]:
    """In a process of its own, so that its peak of memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, given)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, nargs="+", default=[1000, 20_000, 87_585])
    parser.add_argument(
        "--chunks", type=int, default=8, help=f"histories of {LENGTH} targets a step"
    )
    parser.add_argument("--negatives", type=int, default=1024)
    parser.add_argument(
        "--tied", action="store_true", help="score items by the vectors that stand for them"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=5.0,
        help="training time of each measurement, at least a step",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    title = f"{arguments.chunks * LENGTH:,} targets a step, {arguments.threads} threads, {arguments.negatives:,} drawn"
    table = Table(title=f"{title}, medians of {arguments.rounds}", title_justify="left")
    for column in ("items", "loss", "targets/s", "times plain", "added memory, GiB"):
        table.add_column(column, justify="left" if column == "loss" else "right")
    for items in arguments.items:
        found: dict[str, list[tuple[float, float]]] = {"plain": [], "in pieces": [], "sampled": []}
        for _ in range(arguments.rounds):
            for way, each in found.items():
                each.append(_apart(measured, way, items, arguments))
        medians = {
            way: [statistics.median(column) for column in zip(*each, strict=True)]
            for way, each in found.items()
        }
        for way, (rate, memory) in medians.items():
            table.add_row(
                f"{items:,}",
                way,
                f"{rate:,.0f}",
                f"{rate / medians['plain'][0]:.2f}",
                f"{memory:.2f}",
            )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
