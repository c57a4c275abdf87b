"""Training speed: ours against RecBole's GRU4Rec, on the same histories with as many threads, by
turns.

A target is a movie of a history that a step learns to predict, by a softmax among all items, from
what came before it. RecBole makes each a row of its own, with up to 50 movies before it, 2,048 rows
a step (its defaults, as are GRU4Rec's sizes and Adam). We read a history once, and each of its
places is a target; where several networks are trained, it counts once. Each side gets its batches
from its own loader, whose time counts. The first step is not counted.

    python scripts/bench_recbole.py --recbole RECBOLE/bin/python --folder bench --seconds 20 \
        --set data.source=ml-100k --set sequence.preset=paper

Needs histories: run `dualrec prepare` with the same settings first. docs/agreement.md lists what
RecBole's environment takes.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

NAME = "histories"  # what RecBole calls the data set


class Timed:
    """Hands batches on until the time is over; counts the targets and the seconds after the first
    batch."""

    def __init__(self, batches: Any, seconds: float) -> None:
        self.batches, self.limit, self.targets, self.seconds = batches, seconds, 0, 0.0

    def __iter__(self) -> Iterator[Any]:
        started = None
        while True:
            for batch in self.batches:
                counted = started is not None
                yield batch  # comes back when its step has been taken
                if started is None:
                    started = time.perf_counter()
                if counted:
                    self.targets += _targets(batch)
                    self.seconds = time.perf_counter() - started
                if self.seconds >= self.limit:
                    return


def _targets(batch: Any) -> int:
    return int((batch["targets"] > 0).sum()) if isinstance(batch, dict) else len(batch)


# What runs beside dualrec.


def ours(arguments: argparse.Namespace) -> Timed:
    """Train as the job `train-sequence` does."""
    from bench_training import chunk_batches

    from dualrec.config.settings import load_settings
    from dualrec.data.prepare import prepared
    from dualrec.sequence.chunks import chunk_histories
    from dualrec.sequence.epoch import train_sequence_epoch
    from dualrec.sequence.features import item_features
    from dualrec.sequence.loss import EnsembleLoss
    from dualrec.sequence.network import SequenceEnsemble
    from dualrec.storage.schemas import HISTORIES
    from dualrec.storage.workspace import Workspace

    settings = load_settings(arguments.config, arguments.overrides)
    workspace = Workspace.of(settings)
    data, own = prepared(workspace, settings), settings.sequence
    features = item_features(data.catalog, own)
    histories = workspace.read_table(f"{data.histories}/split=train", HISTORIES)
    _write_interactions(arguments.folder / NAME, histories.column("item_ids").to_pylist())
    chunks = chunk_histories(histories, features, own.chunk_length)
    loss = EnsembleLoss(SequenceEnsemble(features, own), own)
    optimizer = torch.optim.AdamW(
        loss.parameters(), lr=own.learning_rate, weight_decay=own.weight_decay
    )
    timed = Timed(
        chunk_batches(chunks, own.batch_size, np.random.default_rng(0)), arguments.seconds
    )
    train_sequence_epoch(loss, timed, optimizer, torch.device("cpu"), 1)
    return timed


def _write_interactions(folder: Path, histories: list[list[int]]) -> None:
    """What RecBole reads: a row an interaction, its place in the history as its time."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        f"{user}\t{item}\t{place}"
        for user, items in enumerate(histories)
        for place, item in enumerate(items)
    ]
    lines = ["user_id:token\titem_id:token\ttimestamp:float", *rows]
    (folder / f"{NAME}.inter").write_text("\n".join(lines) + "\n")


# What runs beside RecBole.


def theirs(arguments: argparse.Namespace) -> Timed:
    """Train GRU4Rec as RecBole does by default, by its softmax loss."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.trainer import Trainer
    from recbole.utils import get_model

    options = {
        "data_path": str(arguments.folder),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {
            "order": "TO",
            "mode": "full",
            "group_by": "user",
            "split": {"LS": "valid_and_test"},
        },
        "train_neg_sample_args": None,  # the softmax loss takes none
        "use_gpu": False,
        "show_progress": False,
        "checkpoint_dir": str(arguments.folder / "saved"),
    }
    config = Config(model="GRU4Rec", dataset=NAME, config_dict=options)
    loader = data_preparation(config, create_dataset(config))[0]
    torch.set_num_threads(arguments.threads)
    model = get_model("GRU4Rec")(config, loader.dataset)
    model.train()
    timed = Timed(loader, arguments.seconds)
    Trainer(config, model)._train_epoch(timed, 0)
    return timed


# What does both.


def main() -> None:
    """Measure each side in a process of its own, by turns, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recbole", help="the Python of RecBole's environment")
    parser.add_argument("--folder", type=Path, required=True, help="for what RecBole reads")
    parser.add_argument(
        "--side", choices=["ours", "theirs"], help="measure this side alone, in this process"
    )
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="training time of each measurement"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--config")
    parser.add_argument("--set", action="append", dest="overrides", default=[])
    arguments = parser.parse_args()
    if arguments.side:
        torch.set_num_threads(arguments.threads)
        timed = ours(arguments) if arguments.side == "ours" else theirs(arguments)
        print(json.dumps(timed.targets / timed.seconds))  # noqa: T201
        return
    if arguments.recbole is None:
        parser.error(
            "--recbole: expected the Python of RecBole's environment, such as RECBOLE/bin/python"
        )
    pythons = {"ours": sys.executable, "theirs": arguments.recbole}
    rates: dict[str, list[float]] = {side: [] for side in pythons}
    for turn in range(arguments.rounds):
        for side, python in pythons.items():
            command = [python, __file__, *sys.argv[1:], "--side", side]
            done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE)
            rates[side].append(float(json.loads(done.stdout.splitlines()[-1])))
            print(f"round {turn + 1}, {side}: {rates[side][-1]:,.0f} targets/s", flush=True)  # noqa: T201
    ours_, theirs_ = (statistics.median(each) for each in rates.values())
    print(  # noqa: T201
        f"medians: ours {ours_:,.0f}, GRU4Rec {theirs_:,.0f} targets/s: {ours_ / theirs_:.1f} times"
    )


if __name__ == "__main__":
    main()
