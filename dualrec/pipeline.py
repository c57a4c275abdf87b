"""The job `run`: every step in order in one Ray session, from raw files to lists and their metrics."""

import time

from rich.console import Console

from dualrec.data.prepare import prepare
from dualrec.evaluation.evaluate import evaluate
from dualrec.recommend import recommend
from dualrec.sequence.train import train_sequence
from dualrec.session import ray_session
from dualrec.settings import Settings
from dualrec.summary import Summary


def run(settings: Settings, force: bool = False) -> Summary:
    """Run all steps; each shows its own summary, and is skipped where its result is there.

    Raises:
        DualrecError: as the steps do.
    """
    console, seconds = Console(), {}
    with ray_session(settings.cluster):
        for step in (prepare, train_sequence, recommend, evaluate):
            started = time.perf_counter()
            step(settings, force).show(console)
            seconds[step.__name__.replace("_", "-")] = f"{time.perf_counter() - started:.0f} s"
    return Summary("run", {f"{name} took": took for name, took in seconds.items()}, {"workspace": settings.workspace})
