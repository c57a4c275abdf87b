"""The job `run`: every step in order in one Ray session, from raw files to lists and their metrics."""

import time
from collections.abc import Callable

from rich.console import Console

from dualrec.checks import check_prepared, check_steps
from dualrec.data.prepare import prepare
from dualrec.evaluation.evaluate import evaluate
from dualrec.evaluation.fitting import fit_baselines
from dualrec.language.checks import check_on_a_node
from dualrec.language.finetune import finetune_language
from dualrec.recommend import recommend
from dualrec.sequence.train import train_sequence
from dualrec.session import ray_session
from dualrec.settings import Settings
from dualrec.summary import Summary

Step = Callable[[Settings, bool], Summary]


def run(settings: Settings, force: bool = False) -> Summary:
    """Run all steps; each shows its own summary, and is skipped where its result is there.

    Raises:
        DualrecError: as the steps do.
    """
    console, tuned = Console(), [settings] if settings.language.tuned == "current" else []
    elsewhere = check_steps(settings, tuned, serves=True, force=force)
    with ray_session(settings.cluster):
        check_on_a_node(elsewhere)
        seconds = run_steps([prepare], settings, force, console)
        check_prepared(settings, tuned, force)
        seconds |= run_steps(_steps(settings), settings, force, console)
    return Summary("run", {f"{name} took": took for name, took in seconds.items()}, {"workspace": settings.workspace})


def run_steps(steps: list[Step], settings: Settings, force: bool, console: Console) -> dict[str, str]:
    """Run steps in order, each showing its summary; returns what each took."""
    seconds = {}
    for step in steps:
        started = time.perf_counter()
        step(settings, force).show(console)
        seconds[step.__name__.replace("_", "-")] = f"{time.perf_counter() - started:.0f} s"
    return seconds


def _steps(settings: Settings) -> list[Step]:
    """All after `prepare`. Fine-tuning is a step where the model that these settings make is the one to be served."""
    tuning = [finetune_language] if settings.language.tuned == "current" else []
    return [train_sequence, *tuning, fit_baselines, recommend, evaluate]
