"""Training speed on a machine with other work: threads that soon sleep while they wait against
OpenMP's default.

The sequence model of the default settings trains on made-up histories, in a process for each way of
waiting (OpenMP reads its environment once), first on the machine as it is and then beside a busy
loop on each core, in a Unix session of its own as another user's work would be. Prints targets a
second and the share of the quiet rate.

    python scripts/bench_busy.py --seconds 20 --rounds 3
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

from dualrec.cluster.resources import SHORT_SPIN

POLICIES: dict[str, dict[str, str]] = {
    "dualrec's (dualrec/cluster/resources.py)": SHORT_SPIN,
    "OpenMP's default": {},
}
ITEMS, CHUNKS, LENGTH = 1000, 32, 100


def targets_a_second(seconds: float, threads: int) -> float:
    """Train in this process for about so long."""
    import numpy as np
    import pyarrow as pa
    import torch

    from dualrec.config.settings import SequenceSettings
    from dualrec.sequence.epoch import train_sequence_epoch
    from dualrec.sequence.features import item_features
    from dualrec.sequence.loss import EnsembleLoss
    from dualrec.sequence.network import SequenceEnsemble
    from dualrec.storage.schemas import CATALOG

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    settings, random = SequenceSettings(), np.random.default_rng(0)
    movies = [
        {"item_id": item, "title": f"Movie {item} ({1950 + item % 70})", "year": 1950 + item % 70, "genres": ["Drama"],
         "popularity": ITEMS - item}
        for item in range(ITEMS)
    ]  # fmt: skip
    network = SequenceEnsemble(
        item_features(pa.Table.from_pylist(movies, CATALOG), settings), settings
    )
    loss, device = EnsembleLoss(network, settings), torch.device("cpu")
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate)
    ids = random.integers(1, ITEMS + 1, (CHUNKS, LENGTH + 1))
    batch = {"inputs": ids[:, :-1], "targets": ids[:, 1:], "size": np.full(CHUNKS, LENGTH)}
    train_sequence_epoch(loss, [batch], optimizer, device, 1)
    targets, started = 0.0, time.perf_counter()
    while (spent := time.perf_counter() - started) < seconds:
        targets += train_sequence_epoch(loss, [batch], optimizer, device, 1).targets
    return targets / spent


def measure(policy: str, arguments: argparse.Namespace) -> float:
    """Train in a process of its own, whose threads wait in this way."""
    command = [sys.executable, __file__, "--inside", "--seconds", str(arguments.seconds)]
    done = subprocess.run(
        [*command, "--threads", str(arguments.threads)],
        env=os.environ | POLICIES[policy], check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return float(json.loads(done.stdout))


def main() -> None:
    """Measure by turns, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the training")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        print(targets_a_second(arguments.seconds, arguments.threads))  # noqa: T201
        return
    rates: dict[tuple[str, str], list[float]] = {}
    for _ in range(arguments.rounds):
        for policy in POLICIES:
            rates.setdefault((policy, "quiet"), []).append(measure(policy, arguments))
            loops = [
                subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
                for _ in range(os.cpu_count() or 1)
            ]
            try:
                rates.setdefault((policy, "busy"), []).append(measure(policy, arguments))
            finally:
                for loop in loops:
                    loop.kill()
                    loop.wait()
    table = Table(
        "waiting threads", "targets/s, quiet", "targets/s, busy", "share of quiet: median (rounds)"
    )
    for policy in POLICIES:
        quiet, busy = rates[policy, "quiet"], rates[policy, "busy"]
        shares = [there / here for here, there in zip(quiet, busy, strict=True)]
        table.add_row(
            policy, f"{statistics.median(quiet):,.0f}", f"{statistics.median(busy):,.0f}",
            f"{statistics.median(shares):.2f} ({', '.join(f'{share:.2f}' for share in shares)})",
        )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
