"""The `dualrec` command: one subcommand a job. Parses settings, calls one function, prints its
summary."""

import importlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dualrec import __version__
from dualrec.cluster.threads import let_idle_threads_sleep
from dualrec.config.settings import load_settings
from dualrec.errors import DualrecError, WorkspaceError

JOBS = {
    "prepare": (
        "dualrec.data.prepare:prepare",
        "Read a data set; write its catalog and one history a user.",
    ),
    "train-sequence": (
        "dualrec.sequence.train:train_sequence",
        "Train the LSTM that predicts each user's next movie.",
    ),
    "finetune-language": (
        "dualrec.language.finetune:finetune_language",
        "Teach the language model to answer with titles, by LoRA; write the adapter and the merged model.",
    ),
    "recommend": (
        "dualrec.ranking.recommend:recommend",
        "Write a ranked list for every user, by both models.",
    ),
    "nightly": (
        "dualrec.nightly.nightly:nightly",
        "Publish one night whole or not at all: score users whose history, models or settings changed, carry the others' "
        "lists over, verify, judge by the gates, commit. The same command again goes on where it stopped, or says that it "
        "is done. Exits with 2 where a setting or the data is wrong, with 3 where a gate failed, with 4 where another driver is at work.",
    ),
    "fit-baselines": (
        "dualrec.evaluation.fitting:fit_baselines",
        "Fit the systems that dualrec is compared with, each with the same budget of trials on validation users.",
    ),
    "evaluate": (
        "dualrec.evaluation.evaluate:evaluate",
        "Measure the lists on test users, beside the baselines of the settings, under named protocols.",
    ),
    "benchmark": (
        "dualrec.pipeline.benchmark:benchmark",
        "The whole comparison: prepare, train and fine-tune, fit every baseline, evaluate, and write one report.",
    ),
    "run": (
        "dualrec.pipeline.run:run",
        "All of it in order: prepare, train-sequence, finetune-language where language.tuned is set, fit-baselines, "
        "recommend, evaluate.",
    ),
}

Config = Annotated[
    str | None,
    typer.Option("--config", help="A YAML file of settings; the profiles are in jobs/configs/."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="One setting over the file, as in sequence.epochs=20."
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="Do it again, even if the result is already there.")
]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Nightly movie recommendations by a sequence model and a language model together, on Ray.\n\n"
    "Start with `dualrec run --config jobs/configs/local.yaml`. Every job writes to the workspace (./workspace unless "
    "set) and is skipped where its result is already there.",
)


def main() -> None:
    """The entry point of the `dualrec` command."""
    let_idle_threads_sleep()
    app()


def run_job(name: str) -> None:
    """The entry point of `python -m jobs.NAME`: the same options as the subcommand."""
    let_idle_threads_sleep()
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command(help=JOBS[name][1])(_command(name))
    single()


def _command(name: str) -> Callable[..., None]:
    def command(config: Config = None, overrides: Overrides = None, force: Force = False) -> None:
        with _told():
            settings = load_settings(config, overrides)
            _refuse_lost_workspace(settings.workspace)
            module, function = JOBS[name][0].split(":")
            getattr(importlib.import_module(module), function)(settings, force).show(Console())

    return command


for _name, (_, _help) in JOBS.items():
    app.command(_name, help=_help)(_command(_name))


@app.command(
    help="Download data sets and models by name into the cache; without a name, list what there is."
)
def fetch(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME...")] = None,
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Fetch assets ahead of the jobs that need them."""
    with _told():
        from dualrec.assets.fetch import fetch as fetch_asset
        from dualrec.assets.registry import DATASETS, MODELS

        console, settings = Console(), load_settings(config, overrides)
        for name in names or []:
            console.print(
                f"{name}: {fetch_asset(name, settings.cache, settings.network.downloads)}"
            )
        if not names:
            console.print("\n".join([*DATASETS, *MODELS]))


@app.command(
    help="List the published nights: which version stands for each date, and which one a rollback would bring back.\n\n"
    "A night may be published again, by a new run; each time it gets the next number. Reads the workspace's manifests "
    "alone, so it can be run while a job publishes."
)
def nights(config: Config = None, overrides: Overrides = None) -> None:
    """List the published nights."""
    with _told():
        from dualrec.publishing.nights import nights as list_nights

        list_nights(load_settings(config, overrides)).show(Console())


@app.command(
    help="Bring back the version before of one night, for readers of Delta and of plain Parquet alike.\n\n"
    "DATE is the night, as YYYY-MM-DD. The version before becomes a new publication; nothing is rewritten, and readers "
    "see the one night or the other, whole. Done again, it goes back one version further, never to the one that was "
    "taken back. `dualrec nights` shows what stands."
)
def rollback(
    run_date: Annotated[datetime, typer.Argument(metavar="DATE", formats=["%Y-%m-%d"])],
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Bring back the version before of one night."""
    with _told():
        from dualrec.publishing.nights import rollback as roll_night_back

        roll_night_back(load_settings(config, overrides), run_date.date()).show(Console())


@app.command(
    help="Serve the published nights over HTTP, until stopped: GET /users/ID/recommendations, POST /recommendations, "
    "/health, and /docs, which describes them.\n\n"
    "Users without a list get the sequence model's, strangers the most watched movies. A new night, or a rollback, is "
    "picked up within serving.poll_seconds, without a restart."
)
def serve(config: Config = None, overrides: Overrides = None) -> None:
    """Serve the published nights over HTTP."""
    with _told():
        from dualrec.serving.serve import serve_nights

        serve_nights(load_settings(config, overrides), Console())


@app.command(
    help="Write pages to look at: the last published night beside the one before, its gates and its cost, and for each "
    "--user the history, and the list with why each movie is there.\n\n"
    "The pages need nothing but a browser. `dualrec serve` shows the same for any user."
)
def report(
    users: Annotated[
        list[int] | None,
        typer.Option("--user", metavar="ID", help="Whose page; may be given again."),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", help="A folder; made where it is not there.")
    ] = Path("report"),
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Write pages of the last published night."""
    with _told():
        from dualrec.serving.pages.report import report as write_pages

        write_pages(load_settings(config, overrides), users or [], out).show(Console())


@app.command(
    help="Show the last night's figures in Prometheus' text format: when it was published, whom it served, its gates, its cost.\n\n"
    "With --out they go to a file, for node_exporter's textfile collector; `dualrec serve` shows the same at /metrics. "
    "What jobs tell while they run is in Ray's own metrics, as ray_dualrec_*."
)
def metrics(
    config: Config = None,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="A file to write instead; replaced as a whole.")
    ] = None,
) -> None:
    """Show the last night's figures for Prometheus."""
    with _told():
        from dualrec.nightly.prometheus import exposition, write_metrics
        from dualrec.storage.workspace import Workspace

        workspace = Workspace.of(load_settings(config, overrides))
        if out is None:
            typer.echo(exposition(workspace), nl=False)
        else:
            write_metrics(workspace, out)


@app.command(help="Print the version.")
def version() -> None:
    """Print the version."""
    Console().print(__version__)


def _refuse_lost_workspace(workspace: str) -> None:
    """A submitted job runs in its node's unpacked copy of the code, where nothing outlasts it."""
    submitted = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")).get(
        "runtime_env", {}
    )
    lasting = "://" in workspace or Path(workspace).expanduser().is_absolute()
    if "working_dir" in submitted and not lasting:
        raise WorkspaceError(
            f"workspace {workspace}: would lie in the submitted job's copy of the code, and be lost with it; "
            "name a folder that every node sees, by its whole path, or s3://bucket/prefix: --set workspace=PLACE"
        )


@contextmanager
def _told() -> Iterator[None]:
    """Set up the log of a job; show a DualrecError as one message, and exit with its code."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("dualrec").setLevel(logging.INFO)
    try:
        yield
    except DualrecError as error:
        Console(stderr=True, soft_wrap=True).print(
            f"[bold red]error:[/bold red] {_plain(str(error))}"
        )
        raise typer.Exit(error.exit_code) from error


def _plain(message: str) -> str:
    return message.replace("[", r"\[")
