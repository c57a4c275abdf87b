"""Evaluation speed: whole-catalogue scoring, lists, all metrics and intervals of many users, against a loop over users.

Both sides score with the same factors (a dot product of user and item vectors), leave out what was watched, and measure
HR, NDCG and MRR at 1, 5, 10 and 20; ours also measures everything else that a report shows, and bootstrap intervals. The
loop runs on a sample of the users, one after another, as a first version of an evaluation is written.

    python scripts/bench_evaluation.py --users 100000 --items 10000
"""

import argparse
import resource
import time
from math import log2

import numpy as np
import torch
from rich.console import Console

from dualrec.evaluation.answers import answers_of, metrics_of
from dualrec.evaluation.comparison import intervals
from dualrec.evaluation.metrics import CUT_OFFS, ItemFacts
from dualrec.evaluation.protocols import Cases

DIMENSION, GENRES, SEEN, LOOPED = 64, 18, 50, 300


def cases_of(users: int, items: int, random: np.random.Generator) -> Cases:
    """Users who watched 50 items, five more of which are hidden."""
    watched = random.integers(1, items + 1, (users, SEEN + 5))
    return Cases(np.arange(users), list(watched[:, :SEEN]), list(watched[:, SEEN:]))


def vectorised(cases: Cases, item_vectors: np.ndarray, facts: ItemFacts) -> dict[str, float]:
    """Ours: batches of users at once."""
    vectors = torch.from_numpy(item_vectors)

    def score(histories: list[np.ndarray]) -> np.ndarray:
        states = torch.from_numpy(item_vectors[np.stack(histories)[:, -5:] - 1].mean(1))
        return np.asarray((states @ vectors.T).numpy())

    metrics = metrics_of(answers_of(score, cases), cases, facts)
    bounds = intervals(np.stack(list(metrics.values()), axis=1), 1000, 0)
    return dict(zip(metrics, bounds[:, 0].tolist(), strict=True))


def looped(cases: Cases, item_vectors: np.ndarray, users: int) -> dict[str, float]:
    """The rival: one user after another."""
    totals: dict[str, float] = {}
    for visible, truth in zip(cases.visible[:users], cases.truth[:users], strict=True):
        scores = item_vectors @ item_vectors[visible[-5:] - 1].mean(0)
        scores[visible - 1] = -np.inf
        ranked = (np.argsort(-scores)[:20] + 1).tolist()
        true = set(truth.tolist())
        hits = [rank for rank, item in enumerate(ranked, start=1) if item in true]
        for k in CUT_OFFS:
            among = [rank for rank in hits if rank <= k]
            ideal = sum(1 / log2(rank + 1) for rank in range(1, min(k, len(truth)) + 1))
            gains = {
                f"HR@{k}": float(bool(among)),
                f"NDCG@{k}": sum(1 / log2(rank + 1) for rank in among) / ideal,
                f"MRR@{k}": 1 / among[0] if among else 0.0,
            }
            for name, gain in gains.items():
                totals[name] = totals.get(name, 0.0) + gain
    return {name: total / users for name, total in totals.items()}


def main() -> None:
    """Run both sides and print their rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    random, console = np.random.default_rng(0), Console()
    item_vectors = random.normal(size=(given.items, DIMENSION)).astype(np.float32)
    facts = ItemFacts(
        (random.random((given.items + 1, GENRES)) < 0.15).astype(np.float32), random.random(given.items + 1)
    )
    cases = cases_of(given.users, given.items, random)
    few = Cases(cases.user_ids[:LOOPED], cases.visible[:LOOPED], cases.truth[:LOOPED])
    loop, ours = looped(few, item_vectors, LOOPED), vectorised(few, item_vectors, facts)
    assert all(abs(ours[name] - value) < 1e-6 for name, value in loop.items()), "both sides must find the same"
    rates: dict[str, list[float]] = {"ours": [], "loop": []}
    for _ in range(given.rounds):
        started = time.perf_counter()
        looped(cases, item_vectors, LOOPED)
        rates["loop"].append(LOOPED / (time.perf_counter() - started))
        started = time.perf_counter()
        vectorised(cases, item_vectors, facts)
        seconds = time.perf_counter() - started
        rates["ours"].append(given.users / seconds)
        console.print(f"{given.users:,} users x {given.items:,} items: {seconds:.1f} s, all metrics and intervals")
    ours_rate, loop_rate = (float(np.median(rates[side])) for side in ("ours", "loop"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    console.print(
        f"median of {given.rounds}: {ours_rate:,.0f} users/s against {loop_rate:,.0f} of the loop, "
        f"{ours_rate / loop_rate:.1f} times; peak memory {peak:.1f} GiB"
    )


if __name__ == "__main__":
    main()
