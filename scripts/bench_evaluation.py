"""Evaluation speed: whole-catalog scoring, lists, all metrics and intervals of many users, against
a loop over users.

Both sides score with the same model, leave out what was watched, and measure everything that a
report shows of a user; ours also its bootstrap intervals. The loop takes a sample of the users one
after another, as a first version of an
evaluation is written: NumPy for the scores, plain Python for the metrics, and either for the order
of the items. Two
models: the cheapest there is, a dot product of user and item vectors, and one network of the
sequence model, untrained.

    python scripts/bench_evaluation.py --users 100000 --items 10000
"""

import argparse
import resource
import time
from collections.abc import Callable
from functools import partial
from itertools import combinations
from math import log2

import numpy as np
import pyarrow as pa
import torch
from rich.console import Console

from dualrec.baselines.baseline import Scorer
from dualrec.config.settings import MemberSettings, SequenceSettings
from dualrec.evaluation.answers import answers_of, metrics_of
from dualrec.evaluation.comparison import intervals
from dualrec.evaluation.metrics import BEYOND, CUT_OFFS, LENGTH, ItemFacts
from dualrec.evaluation.protocols import Cases
from dualrec.sequence.features import item_features
from dualrec.sequence.network import SequenceNetwork

DIMENSION, GENRES, SEEN, HIDDEN = 64, 18, 50, 5


def cases_of(users: int, items: int, random: np.random.Generator) -> Cases:
    """Users who watched 50 items, five more of which are hidden."""
    watched = np.stack(
        [random.choice(items, SEEN + HIDDEN, replace=False) + 1 for _ in range(users)]
    )
    return Cases(np.arange(users), list(watched[:, :SEEN]), list(watched[:, SEEN:]))


def first(cases: Cases, users: int) -> Cases:
    """The first users' cases."""
    return Cases(cases.user_ids[:users], cases.visible[:users], cases.truth[:users])


def factors(items: int, random: np.random.Generator) -> Scorer:
    """Scores float32 (n, items): the dot product of an item's vector with the mean of the last five
    movies'."""
    vectors = random.normal(size=(items, DIMENSION)).astype(np.float32)

    def score(histories: list[np.ndarray]) -> np.ndarray:
        return np.asarray(vectors[np.stack(histories)[:, -5:] - 1].mean(1) @ vectors.T)

    return score


def network(items: int) -> Scorer:
    """Scores float32 (n, items) of the sequence model, untrained."""
    columns = {"item_id": range(1, items + 1), "title": [f"Movie {n} (1999)" for n in range(items)]}
    genres = [["Drama"]] * items
    features = item_features(pa.table({**columns, "genres": genres}), SequenceSettings())
    torch.manual_seed(0)
    model = SequenceNetwork(features, SequenceSettings(), MemberSettings()).eval()

    @torch.no_grad()
    def score(histories: list[np.ndarray]) -> np.ndarray:
        return np.asarray(
            model.score(model.encode(torch.from_numpy(np.stack(histories)))[:, -1]).numpy()
        )

    return score


def vectorised(cases: Cases, scorer: Scorer, facts: ItemFacts) -> dict[str, float]:
    """Ours: batches of users at once."""
    metrics = metrics_of(answers_of(scorer, cases), cases, facts)
    bounds = intervals(np.stack(list(metrics.values()), axis=1), 1000, 0)
    return dict(zip(metrics, bounds[:, 0].tolist(), strict=True))


def by_numpy(scores: np.ndarray) -> list[int]:
    """The best item numbers, best first."""
    return list((np.argsort(-scores)[:LENGTH] + 1).tolist())


def by_python(scores: np.ndarray) -> list[int]:
    """The same."""
    values = scores.tolist()
    return [
        place + 1
        for place in sorted(range(len(values)), key=values.__getitem__, reverse=True)[:LENGTH]
    ]


def looped(
    cases: Cases, scorer: Scorer, facts: ItemFacts, best: Callable[[np.ndarray], list[int]]
) -> dict[str, float]:
    """The rival: one user after another."""
    genres = [frozenset(np.flatnonzero(row).tolist()) for row in facts.genres]
    popularity = facts.popularity.tolist()
    totals: dict[str, float] = {}
    for visible, truth in zip(cases.visible, cases.truth, strict=True):
        scores = scorer([visible])[0]
        scores[visible - 1] = -np.inf
        ranked = best(scores)
        gains = _accuracy(ranked, truth.tolist()) | _beyond(
            ranked, truth.tolist(), visible.tolist(), genres, popularity
        )
        for name, gain in gains.items():
            totals[name] = totals.get(name, 0.0) + gain
    return {name: total / len(cases) for name, total in totals.items()}


def _accuracy(ranked: list[int], truth: list[int]) -> dict[str, float]:
    true, gains = set(truth), {}
    hits = [rank for rank, item in enumerate(ranked, start=1) if item in true]
    for k in CUT_OFFS:
        among = [rank for rank in hits if rank <= k]
        ideal = sum(1 / log2(rank + 1) for rank in range(1, min(k, len(truth)) + 1))
        gains[f"HR@{k}"] = float(bool(among))
        gains[f"NDCG@{k}"] = sum(1 / log2(rank + 1) for rank in among) / ideal
        gains[f"MRR@{k}"] = 1 / among[0] if among else 0.0
    return gains


def _beyond(
    ranked: list[int],
    truth: list[int],
    visible: list[int],
    genres: list[frozenset[int]],
    popularity: list[float],
) -> dict[str, float]:
    def similar(one: int, other: int) -> float:
        return len(genres[one] & genres[other]) / (len(genres[one] | genres[other]) or 1)

    shown = ranked[:BEYOND]
    of_list, of_history = (
        sum(popularity[item] for item in some) / len(some) for some in (shown, visible)
    )
    to_next = [similar(item, truth[0]) for item in ranked[:5]]
    distances = [1 - similar(one, other) for one, other in combinations(shown, 2)]
    return {
        "genre Jaccard": to_next[0],
        "genre Jaccard, best of 5": max(to_next),
        f"novelty@{BEYOND}": sum(-log2(popularity[item]) for item in shown) / len(shown),
        f"popularity lift@{BEYOND}": of_list / of_history - 1,
        f"diversity@{BEYOND}": sum(distances) / len(distances),
    }


def compare(
    name: str,
    scorer: Scorer,
    cases: Cases,
    facts: ItemFacts,
    loop: int,
    rounds: int,
    console: Console,
) -> None:
    """Run both sides in turn and print the medians of their rates."""
    few = first(cases, loop)
    loops = {
        "NumPy's sort": partial(looped, best=by_numpy),
        "Python's sort": partial(looped, best=by_python),
    }
    ours = vectorised(few, scorer, facts)
    for theirs in (run(few, scorer, facts) for run in loops.values()):
        assert ours.keys() == theirs.keys()
        assert all(abs(ours[metric] - theirs[metric]) < 1e-4 for metric in ours), (
            "all must find the same"
        )
    rates: dict[str, list[float]] = {side: [] for side in ("ours", *loops)}
    for _ in range(rounds):
        for side, run in (*loops.items(), ("ours", vectorised)):
            some = cases if side == "ours" else few
            started = time.perf_counter()
            run(some, scorer, facts)
            rates[side].append(len(some) / (time.perf_counter() - started))
    rate = {side: float(np.median(values)) for side, values in rates.items()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    console.print(
        f"{name}: {len(cases):,} users in {len(cases) / rate['ours']:.1f} s, {rate['ours']:,.0f} users/s, peak {peak:.1f} GiB"
    )
    for side in loops:
        console.print(
            f"  a loop with {side}: {rate[side]:,.0f} users/s; ours is {rate['ours'] / rate[side]:.1f} times as fast"
        )


def main() -> None:
    """Compare with both models."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    random, console = np.random.default_rng(0), Console()
    facts = ItemFacts(
        (random.random((given.items + 1, GENRES)) < 0.15).astype(np.float32),
        random.random(given.items + 1),
    )
    cases = cases_of(given.users, given.items, random)
    compare("factors", factors(given.items, random), cases, facts, 1000, given.rounds, console)
    tenth = first(cases, given.users // 10)
    compare("sequence model", network(given.items), tenth, facts, 100, given.rounds, console)


if __name__ == "__main__":
    main()
