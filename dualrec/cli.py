"""The `dualrec` command: one subcommand for each job and each question an operator has.

A subcommand reads its settings, calls one function of the package and prints the summary that comes
back. `python -m jobs.NAME` runs the same subcommand.
"""

import functools
import json
import logging
import os
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, ParamSpec

import typer
from rich.console import Console

from dualrec import __version__
from dualrec.cluster.resources import let_idle_threads_sleep
from dualrec.config.settings import Settings, load_settings
from dualrec.errors import DualrecError, WorkspaceError

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
P = ParamSpec("P")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # joins the lines of a docstring's paragraph
)


@app.callback()
def describe() -> None:
    """Nightly movie recommendations by a sequence model and a language model together, on Ray.

    Start with `dualrec run --config jobs/configs/local.yaml`. Every job writes to the workspace
    (./workspace unless set) and is skipped where its result is already there.
    """


def main(command: str | None = None) -> None:
    """Run the command line; with `command`, as if that subcommand had been its first word."""
    let_idle_threads_sleep()
    app(sys.argv[1:] if command is None else [command, *sys.argv[1:]])


def handle_cli_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Make a subcommand log to standard error, and show a DualrecError as one message.

    The process then exits with the error's own code.
    """

    @functools.wraps(command)
    def handled(*args: P.args, **kwargs: P.kwargs) -> None:
        logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
        logging.getLogger("dualrec").setLevel(logging.INFO)
        try:
            command(*args, **kwargs)
        except DualrecError as error:
            message = str(error).replace("[", r"\[")
            Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/bold red] {message}")
            raise typer.Exit(error.exit_code) from error

    return handled


@app.command()
@handle_cli_errors
def run(config: Config = None, overrides: Overrides = None, force: Force = False) -> None:
    """Do all of it in order, from raw data to lists and their report.

    The steps are prepare, train-sequence, finetune-language where language.tuned is set,
    fit-baselines, recommend and evaluate.
    """
    from dualrec.pipeline.run import run

    run(_job_settings(config, overrides), force).show(Console())


@app.command()
@handle_cli_errors
def prepare(config: Config = None, overrides: Overrides = None, force: Force = False) -> None:
    """Read a data set; write its catalog and one history for each user."""
    from dualrec.data.prepare import prepare

    prepare(_job_settings(config, overrides), force).show(Console())


@app.command()
@handle_cli_errors
def train_sequence(
    config: Config = None, overrides: Overrides = None, force: Force = False
) -> None:
    """Train the LSTM that predicts each user's next movie."""
    from dualrec.sequence.train import train_sequence

    train_sequence(_job_settings(config, overrides), force).show(Console())


@app.command()
@handle_cli_errors
def finetune_language(
    config: Config = None, overrides: Overrides = None, force: Force = False
) -> None:
    """Teach the language model to answer with titles, by LoRA.

    Writes the adapter and the merged model.
    """
    from dualrec.language.finetune import finetune_language

    finetune_language(_job_settings(config, overrides), force).show(Console())


@app.command()
@handle_cli_errors
def fit_baselines(config: Config = None, overrides: Overrides = None, force: Force = False) -> None:
    """Fit the systems that dualrec is compared with.

    Each has the same budget of trials, judged on validation users.
    """
    from dualrec.evaluation.fitting import fit_baselines

    fit_baselines(_job_settings(config, overrides), force).show(Console())


@app.command()
@handle_cli_errors
def recommend(config: Config = None, overrides: Overrides = None, force: Force = False) -> None:
    """Write a ranked list for every user, by both models."""
    from dualrec.ranking.recommend import recommend

    recommend(_job_settings(config, overrides), force).show(Console())


@app.command()
@handle_cli_errors
def evaluate(config: Config = None, overrides: Overrides = None, force: Force = False) -> None:
    """Measure the lists on test users, beside the baselines of the settings.

    Writes metrics.json and a report as a page and as Markdown, under named protocols.
    """
    from dualrec.evaluation.evaluate import evaluate

    evaluate(_job_settings(config, overrides), force).show(Console())


@app.command()
@handle_cli_errors
def benchmark(config: Config = None, overrides: Overrides = None, force: Force = False) -> None:
    """Compare all systems: prepare, train, fine-tune, fit every baseline, evaluate, one report."""
    from dualrec.pipeline.benchmark import benchmark

    benchmark(_job_settings(config, overrides), force).show(Console())


@app.command()
@handle_cli_errors
def nightly(config: Config = None, overrides: Overrides = None, force: Force = False) -> None:
    """Publish the lists of a run date, all of them or none.

    Users whose history, models or settings changed are scored, the others' lists are carried over;
    then the lists are verified, judged by the gates and committed. The same command again continues
    where it stopped. Exits with 2 where a setting or the data is wrong, with 3 where a gate failed,
    with 4 where another driver is at work.
    """
    from dualrec.nightly.nightly import nightly

    nightly(_job_settings(config, overrides), force).show(Console())


@app.command()
@handle_cli_errors
def fetch(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME...")] = None,
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Download data sets and models by name into the cache; without a name, list what there is."""
    from dualrec.assets.fetch import fetch
    from dualrec.assets.registry import DATASETS, MODELS

    console, settings = Console(), load_settings(config, overrides)
    for name in names or []:
        console.print(f"{name}: {fetch(name, settings.cache, settings.network.downloads)}")
    if not names:
        console.print("\n".join([*DATASETS, *MODELS]))


@app.command()
@handle_cli_errors
def nights(config: Config = None, overrides: Overrides = None) -> None:
    """List the published snapshots: which version of each date is current, and which came before.

    Each publication of a date gets the next number. Reads the workspace's manifests alone, so it
    can run while a job publishes.
    """
    from dualrec.publishing.nights import nights

    nights(load_settings(config, overrides)).show(Console())


@app.command()
@handle_cli_errors
def rollback(
    run_date: Annotated[datetime, typer.Argument(metavar="DATE", formats=["%Y-%m-%d"])],
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Roll a run date back to its previous version, for readers of Delta and of Parquet files.

    DATE is a run date, as YYYY-MM-DD. The previous version becomes a new publication; nothing is rewritten, and readers see the one
    snapshot or the other, whole. Done again, it goes back one version further. `dualrec nights`
    shows which version is current.
    """
    from dualrec.publishing.nights import rollback

    rollback(load_settings(config, overrides), run_date.date()).show(Console())


@app.command()
@handle_cli_errors
def serve(config: Config = None, overrides: Overrides = None) -> None:
    """Serve the published lists over HTTP, until stopped; /docs describes the requests.

    Users without a list get the sequence model's, unknown users the most watched movies. A new
    snapshot, or a rollback, is picked up within serving.poll_seconds, without a restart.
    """
    from dualrec.serving.deployment import serve_nights

    serve_nights(load_settings(config, overrides), Console())


@app.command()
@handle_cli_errors
def report(
    users: Annotated[
        list[int] | None,
        typer.Option("--user", metavar="ID", help="Whose page; may be given again."),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", help="A folder; created where it does not exist.")
    ] = Path("report"),
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Write pages for a browser: the last published snapshot beside the one before, gates and cost.

    For each --user also the history, and the list with the reason for each movie. `dualrec serve`
    shows the same for any user.
    """
    from dualrec.serving.pages.html import report

    report(load_settings(config, overrides), users or [], out).show(Console())


@app.command()
@handle_cli_errors
def explain(
    user: Annotated[int, typer.Option("--user", metavar="ID", help="Whose list.")],
    item: Annotated[
        int | None,
        typer.Option("--item", metavar="ID", help="One item, also one that is not in the list."),
    ] = None,
    run_date: Annotated[
        datetime | None,
        typer.Option("--date", metavar="DATE", formats=["%Y-%m-%d"], help="Another run date."),
    ] = None,
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Explain a user's published list: what each model said of each item and added to its score.

    Shows the run that scored the user, the prompt and the answer of the language model. With --item
    it is that item in full, and for an item that is not in the list the reason why not.
    """
    from dualrec.serving.explain import explain

    settings = load_settings(config, overrides)
    explain(settings, user, item, run_date.date() if run_date else None).show(Console())


@app.command()
@handle_cli_errors
def metrics(
    config: Config = None,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="A file to write instead; replaced as a whole.")
    ] = None,
) -> None:
    """Show the figures of the last published snapshot in Prometheus' text format.

    With --out they go to a file, for node_exporter's textfile collector; `dualrec serve` shows the
    same at /metrics. Jobs that run report in Ray's own metrics, as ray_dualrec_*.
    """
    from dualrec.nightly.prometheus import exposition, write_metrics
    from dualrec.storage.workspace import Workspace

    workspace = Workspace.of(load_settings(config, overrides))
    if out is None:
        typer.echo(exposition(workspace), nl=False)
    else:
        write_metrics(workspace, out)


@app.command()
def version() -> None:
    """Print the version."""
    Console().print(__version__)


def _job_settings(config: str | None, overrides: list[str] | None) -> Settings:
    """Load a job's settings; refuse a workspace that would vanish with the job.

    A submitted job runs in its node's unpacked copy of the code, which is deleted after it.
    """
    settings = load_settings(config, overrides)
    workspace = settings.workspace
    submitted = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    lasting = "://" in workspace or Path(workspace).expanduser().is_absolute()
    if "working_dir" in submitted.get("runtime_env", {}) and not lasting:
        raise WorkspaceError(
            f"workspace {workspace}: would lie in the submitted job's copy of the code, and be "
            "lost with it; name a folder that every node sees, by its whole path, or "
            "s3://bucket/prefix: --set workspace=PLACE"
        )
    return settings
