"""What a night costs where little changed, what publishing adds, and what a resumed run repeats.

Runs nights on a copy of the data set of the settings, in a workspace of its own, each in a process
of its own:

    1. everybody is scored;
    2. 1 % of the users watched one more movie: its engine seconds against those of the first;
    3. everybody is scored again (--force), and the driver dies by SIGKILL half-way: the same
    command goes on. Users whom
       the engines had answered, as whole batches, and no file held are answered again; so are those
       who were under way.

    python scripts/bench_nightly.py --config jobs/configs/local.yaml --set language.tuned=null

Staging and publishing (lists, traces, checksums, the commit, the manifest) are told as a share of
the seconds of scoring.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from rich.console import Console
from rich.table import Table

from dualrec.cluster.progress import log_progress
from dualrec.config.settings import Settings, load_settings
from dualrec.data.prepare import prepare, prepared
from dualrec.nightly import nightly as job
from dualrec.nightly.plan import latest_plan
from dualrec.nightly.run_report import report_path
from dualrec.nightly.staging import scored_so_far
from dualrec.publishing.manifest import current_manifest
from dualrec.ranking.recommend import run_date_of
from dualrec.storage.schemas import HISTORIES
from dualrec.storage.workspace import Workspace

NIGHTS = ("2026-11-01", "2026-11-02", "2026-11-03")
CHANGED = 0.01  # of the users
LOOK_S = 0.1


def write_source(settings: Settings, folder: Path, changed: float = 0.0) -> int:
    """Write the histories of the settings' data in MovieLens 1M's form; returns how many users
    watch one more movie.

    The first so many users get a movie that they have not watched, at the end of their history.
    """
    workspace = Workspace.of(settings)
    data = prepared(workspace, settings)
    catalog = data.catalog.to_pylist()
    rows = sorted(
        workspace.read_table(data.histories, HISTORIES).to_pylist(),
        key=lambda row: int(row["user_id"]),
    )
    more = max(round(len(rows) * changed), 1) if changed else 0
    folder.mkdir(exist_ok=True)
    with (folder / "ratings.dat").open("w", encoding="latin-1") as stream:
        for number, row in enumerate(rows):
            watched = list(zip(row["item_ids"], row["timestamps"], strict=True))
            if number < more:
                new = next(
                    item["item_id"] for item in catalog if item["item_id"] not in row["item_ids"]
                )
                watched.append((new, watched[-1][1] + 1 if watched else 1))
            stream.writelines(f"{row['user_id']}::{item}::5::{time}\n" for item, time in watched)
    with (folder / "movies.dat").open("w", encoding="latin-1", errors="replace") as stream:
        for item in catalog:
            stream.write(f"{item['item_id']}::{item['title']}::{'|'.join(item['genres'])}\n")
    return more


def run_night(words: list[str], night: str, *more: str) -> dict[str, Any]:
    """Run a night in a process of its own; returns its report."""
    command = [
        sys.executable,
        __file__,
        "--one-night",
        *words,
        "--set",
        f"recommend.run_date={night}",
        *more,
    ]
    done = subprocess.run(command, check=False)
    settings = _settings(words, night)
    if "--die" in more:
        assert done.returncode == -signal.SIGKILL, (
            f"the driver should have died half-way, and exited with {done.returncode}"
        )
        return {}
    assert done.returncode == 0, f"the night exited with {done.returncode}"
    workspace = Workspace.of(settings)
    manifest = current_manifest(workspace, run_date_of(settings))
    assert manifest is not None
    report = workspace.read_bytes(report_path(manifest.run_date, manifest.run_id))
    return dict(json.loads(report))


def one_night(settings: Settings, force: bool, die: bool) -> None:
    """What a process of its own does: the job, and where asked for, death as soon as half of the
    users are in files."""
    if die:
        counters = _hear_of_counters()
        threading.Thread(target=_die_half_way, args=(settings, counters), daemon=True).start()
    job.nightly(settings, force).show(Console())


def _hear_of_counters() -> list[Any]:
    """A list to which the job adds the counter of its requests."""
    counters: list[Any] = []

    @contextmanager
    def heard(total: int, what: str) -> Iterator[Any]:
        with log_progress(total, what) as counter:
            counters.append(counter)
            yield counter

    job.log_progress = heard
    return counters


def _die_half_way(settings: Settings, counters: list[Any]) -> None:
    workspace, run_date = Workspace.of(settings), run_date_of(settings)
    begun = latest_plan(workspace, run_date)
    while True:
        time.sleep(LOOK_S)
        plan = latest_plan(workspace, run_date)
        if plan is None or plan == begun:
            continue
        scored = scored_so_far(workspace, plan, 99)
        if len(scored.ids("night")) >= _users(workspace, plan.histories, plan.split) / 2:
            answered, _ = ray.get(counters[-1].engine.remote())
            in_files = sum(map(len, scored.by_purpose.values()))
            sys.stdout.write(f"dies with {answered} requests answered, {in_files} in files\n")
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)


def _users(workspace: Workspace, histories: str, split: str) -> int:
    users = workspace.description(histories)["users"]
    return int(sum(users.values()) if split == "all" else users[split])


def _settings(words: list[str], night: str) -> Settings:
    arguments, _ = _parser().parse_known_args([*words, "--set", f"recommend.run_date={night}"])
    return load_settings(arguments.config, arguments.set)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", help="a YAML file of settings")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="one setting over the file"
    )
    parser.add_argument("--one-night", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--force", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--die", action="store_true", help=argparse.SUPPRESS)
    return parser


def main() -> None:
    """Run all nights and print what they cost."""
    arguments = _parser().parse_args()
    settings = load_settings(arguments.config, arguments.set)
    if arguments.one_night:
        one_night(settings, arguments.force, arguments.die)
        return
    with tempfile.TemporaryDirectory(dir=Path(settings.workspace).parent) as folder:
        prepare(settings)
        source = Path(folder, "source")
        write_source(settings, source)
        words = ["--config", arguments.config] if arguments.config else []
        own = [
            f"workspace={folder}/workspace",
            f"data.source={source}",
            "data.items=null",
            "recommend.split=all",
        ]
        own.append(
            "nightly.lease_seconds=5"
        )  # a sign of life every second: what a killed driver spent is known
        words += [word for one in [*arguments.set, *own] for word in ("--set", one)]
        full = run_night(words, NIGHTS[0])
        more = write_source(settings, source, CHANGED)
        little = run_night(words, NIGHTS[1])
        run_night(words, NIGHTS[2], "--force", "--die")
        resumed = run_night(words, NIGHTS[2])
    show(full, little, resumed, more)


def show(
    full: dict[str, Any], little: dict[str, Any], resumed: dict[str, Any], changed: int
) -> None:
    """Print the figures."""
    table = Table(
        "night",
        "scored",
        "carried",
        "engine s",
        "scoring s",
        "staging s",
        "publishing s",
        "attempts",
    )
    for name, night in (
        ("everybody", full),
        (f"{changed} users changed", little),
        ("killed half-way", resumed),
    ):
        seconds = night["seconds"]
        table.add_row(
            name, *(str(night["metrics"][key]) for key in ("scored", "carried")), str(night["cost"]["engine_seconds"]),
            *(str(seconds[key]) for key in ("scoring", "staging", "publishing")), str(night["cost"]["attempts"]),
        )  # fmt: skip
    console = Console()
    console.print(table)
    engine = little["cost"]["engine_seconds"] / full["cost"]["engine_seconds"]
    added = (full["seconds"]["staging"] + full["seconds"]["publishing"]) / full["seconds"][
        "scoring"
    ]
    console.print(f"engine time where {changed} users changed, of that of everybody: {engine:.1%}")
    console.print(f"staging and publishing, of the seconds of scoring: {added:.1%}")


if __name__ == "__main__":
    main()
