"""The job `run`: every step in order in one Ray session, from raw files to lists and metrics."""

import time
from collections.abc import Callable
from functools import partial

from rich.console import Console
from rich.table import Table

from dualrec.cluster.progress import heartbeat
from dualrec.cluster.session import ray_session
from dualrec.cluster.summary import Summary
from dualrec.config.settings import Settings
from dualrec.data.prepare import prepare, prepared
from dualrec.evaluation.evaluate import evaluate, report_name
from dualrec.evaluation.fitting import fit_baselines
from dualrec.evaluation.predictions import further_requests
from dualrec.language.checks import check_on_a_node
from dualrec.language.finetune import finetune_language
from dualrec.pipeline.checks import check_prepared, check_steps
from dualrec.pipeline.estimate import Size, estimated_seconds, prepared_size, published_size
from dualrec.ranking.recommend import recommend
from dualrec.sequence.train import train_sequence
from dualrec.storage.workspace import Workspace

Step = Callable[[Settings, bool], Summary]


def run(settings: Settings, force: bool = False) -> Summary:
    """Run all steps; each shows its own summary, and is skipped where its result is there.

    Raises:
        DualrecError: as the steps do.
    """
    console, workspace = Console(), Workspace.of(settings)
    tuned = [settings] if settings.language.tuned == "current" else []
    elsewhere = check_steps(settings, tuned, serves=True, force=force)
    steps, size = _steps(settings), published_size(settings)
    _announce(console, steps, settings, size)
    with ray_session(settings.cluster):
        check_on_a_node(elsewhere)
        seconds = run_steps([prepare], settings, force, console)
        check_prepared(settings, tuned, force)
        if size is None:
            size = prepared_size(workspace, prepared(workspace, settings))
            _announce(console, steps, settings, size)
        seconds |= run_steps(steps, settings, force, console)
    report = workspace.content(report_name(prepared(workspace, settings), settings))
    paths = {
        "workspace": workspace.uri,
        "the report, a page for your browser": f"{workspace.uri}/{report}/report.html",
    }
    return Summary(
        "run", {f"{name} took": took for name, took in seconds.items()}, paths, [_what_next()]
    )


def recommend_and_predict(settings: Settings, force: bool = False) -> Summary:
    """Recommend, and in the same pass have the language model answer what `evaluate` will need of
    it.

    Raises:
        DualrecError: as `recommend` does.
    """
    return recommend(settings, force, partial(further_requests, settings, force))


def run_steps(
    steps: list[Step], settings: Settings, force: bool, console: Console
) -> dict[str, str]:
    """Run steps in order and show their summaries; return how long each took, by its title."""
    seconds = {}
    for step in steps:
        started = time.perf_counter()
        with heartbeat(_name(step)):
            summary = step(settings, force)
        summary.show(console)
        seconds[summary.title] = f"{time.perf_counter() - started:.0f} s"
    return seconds


def _steps(settings: Settings) -> list[Step]:
    """Those after `prepare`. Fine-tuning is one where the model that these settings make is the one
    to be served."""
    tuning = [finetune_language] if settings.language.tuned == "current" else []
    return [train_sequence, *tuning, fit_baselines, recommend_and_predict, evaluate]


def _name(step: Step) -> str:
    return step.__name__.replace("_", "-")


def _announce(console: Console, steps: list[Step], settings: Settings, size: Size | None) -> None:
    """Show what will be done and, as far as it is known, about how long it takes on a small
    machine."""
    text = f"{', '.join(map(_name, [prepare, *steps]))}; what is there already is skipped"
    seconds = estimated_seconds(settings, size) if size else None
    if seconds is not None:
        minutes = max(round(seconds / 60), 1)
        text = f"about {minutes} minute{'s' if minutes > 1 else ''} on two CPU cores: {text}"
    console.print(text, soft_wrap=True, highlight=False)


def _what_next() -> Table:
    table = Table(title="what to try next, with the same --config and --set", title_justify="left")
    table.add_column("command", style="cyan", no_wrap=True)
    table.add_column("what it does", overflow="fold")
    for command, what in (
        ("dualrec recommend --force", "writes the lists again; with other settings, other lists"),
        ("dualrec nightly", "publishes a night of lists, which the next two show"),
        (
            "dualrec report --user ID",
            "writes a user's page: the history, the list, and why each movie is there",
        ),
        ("dualrec serve", "shows the same for any user, over HTTP"),
        (
            "dualrec run --set data.source=FILE",
            "does all of it on your own data: docs/tutorial.md, from tables to a list",
        ),
    ):
        table.add_row(command, what)
    return table
