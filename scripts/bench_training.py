"""Training speed: chunks with a target at every position against sliding 30-movie windows with one
target each.

The same network, optimizer and data; each side trains for the same time, by turns in one process.
Prints targets a second, and the top-5 accuracy on the same validation targets: those with thirty
movies before them, predicted from these thirty.

    python scripts/bench_training.py --config jobs/configs/local.yaml --seconds 60 --set
    data.source=PATH

Needs histories: run `dualrec prepare` with the same settings first.
"""

import argparse
import time
from collections.abc import Iterator

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from rich.console import Console
from rich.table import Table

from dualrec.config.settings import Settings, load_settings
from dualrec.data.prepare import Prepared, prepared
from dualrec.sequence.chunks import (
    POOLED_BATCHES,
    ChunkBatch,
    chunk_histories,
    length_bucketed_batches,
)
from dualrec.sequence.epoch import train_sequence_epoch
from dualrec.sequence.features import ItemFeatures, item_features
from dualrec.sequence.loss import EnsembleLoss
from dualrec.sequence.network import SequenceEnsemble, mean_log_probabilities
from dualrec.storage.schemas import HISTORIES
from dualrec.storage.workspace import Workspace

WINDOW, WINDOW_BATCH = 30, 128  # as published


def windows(histories: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (n, 30) and the movie after each (n,), for every place in every history."""
    long = [
        sliding_window_view(numbers, WINDOW + 1) for numbers in histories if len(numbers) > WINDOW
    ]
    rows = np.concatenate(long)
    return np.ascontiguousarray(rows[:, :-1]), rows[:, -1].copy()


def window_batches(
    inputs: np.ndarray, targets: np.ndarray, rng: np.random.Generator
) -> Iterator[ChunkBatch]:
    """Shuffled batches for ever; only the last place of a window has a target."""
    while True:
        for rows in np.array_split(
            rng.permutation(len(inputs)), max(len(inputs) // WINDOW_BATCH, 1)
        ):
            last = np.zeros((len(rows), WINDOW), np.int64)
            last[:, -1] = targets[rows]
            yield {"inputs": inputs[rows], "targets": last, "size": np.full(len(rows), WINDOW)}


def chunk_batches(chunks: ChunkBatch, size: int, rng: np.random.Generator) -> Iterator[ChunkBatch]:
    """Shuffled batches for ever, as the job makes them."""
    while True:
        order = rng.permutation(len(chunks["size"]))
        for rows in np.split(
            order, range(size * POOLED_BATCHES, len(order), size * POOLED_BATCHES)
        ):
            group = {name: values[rows] for name, values in chunks.items()}
            yield from length_bucketed_batches([group], size, seed=int(rng.integers(2**32)))


class Side:
    """One way of training, with a network and an optimizer of its own."""

    def __init__(
        self, batches: Iterator[ChunkBatch], features: ItemFeatures, settings: Settings
    ) -> None:
        torch.manual_seed(settings.sequence.seed)
        self.network = SequenceEnsemble(features, settings.sequence)
        alone = (
            settings.sequence.model_copy(  # the last place of a window has no next movies but one
                update={
                    "members": tuple(
                        one.model_copy(update={"ahead": 1}) for one in settings.sequence.members
                    )
                }
            )
        )
        self.summed_loss = EnsembleLoss(self.network, alone)
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=settings.sequence.learning_rate
        )
        self.batches, self.targets, self.seconds = batches, 0.0, 0.0

    def train(self, seconds: float) -> None:
        """Train for about so long."""
        started = time.perf_counter()
        while (spent := time.perf_counter() - started) < seconds:
            self.targets += train_sequence_epoch(
                self.summed_loss, [next(self.batches)], self.optimizer, torch.device("cpu"), 1
            ).targets
        self.seconds += spent

    @torch.no_grad()
    def top5(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """Top-5 accuracy of the prediction after each window."""
        self.network.eval()
        hits = 0
        for start in range(0, len(inputs), 512):
            rows = torch.from_numpy(inputs[start : start + 512])
            best = (
                mean_log_probabilities(
                    self.network.next_logits(rows, torch.full((len(rows),), WINDOW - 1))
                )
                .topk(5)
                .indices
                + 1
            )
            hits += int((best == torch.from_numpy(targets[start : start + 512, None])).sum())
        return hits / len(inputs)


def numbered(
    workspace: Workspace, data: Prepared, features: ItemFeatures, split: str
) -> list[np.ndarray]:
    """Item numbers of each history of a split."""
    table = workspace.read_table(f"{data.histories}/split={split}", HISTORIES)
    return [
        features.numbers_of(np.array(ids, np.int64)) for ids in table.column("item_ids").to_pylist()
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config")
    parser.add_argument("--set", action="append", dest="overrides")
    parser.add_argument("--seconds", type=float, default=60.0, help="training time of each side")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    settings = load_settings(arguments.config, arguments.overrides)
    torch.set_num_threads(arguments.threads)
    workspace = Workspace.of(settings)
    data = prepared(workspace, settings)
    features = item_features(data.catalog, settings.sequence)
    rng = np.random.default_rng(0)
    training = workspace.read_table(f"{data.histories}/split=train", HISTORIES)
    chunks = chunk_histories(training, features, settings.sequence.chunk_length)
    held_inputs, held_targets = windows(numbered(workspace, data, features, "validation"))
    chosen = rng.choice(len(held_inputs), min(10_000, len(held_inputs)), replace=False)
    sides = {
        "chunks (dualrec)": Side(
            chunk_batches(chunks, settings.sequence.batch_size, rng), features, settings
        ),
        "windows of 30 (as published)": Side(
            window_batches(*windows(numbered(workspace, data, features, "train")), rng),
            features,
            settings,
        ),
    }
    table = Table(
        title=f"{data.dataset}, {arguments.threads} threads, equal time", title_justify="left"
    )
    for column in ("seconds a side", "side", "targets/s", "validation top-5"):
        table.add_column(column, justify="left" if column == "side" else "right")
    rounds = 3
    for done in range(1, rounds + 1):
        for name, side in sides.items():
            side.train(arguments.seconds / rounds)
            top5 = side.top5(held_inputs[chosen], held_targets[chosen])
            rate = side.targets / side.seconds
            table.add_row(
                f"{arguments.seconds / rounds * done:.0f}", name, f"{rate:,.0f}", f"{top5:.2%}"
            )
    ours, theirs = (side.targets / side.seconds for side in sides.values())
    console = Console()
    console.print(table)
    console.print(f"ratio of targets a second: {ours / theirs:.1f}")


if __name__ == "__main__":
    main()
