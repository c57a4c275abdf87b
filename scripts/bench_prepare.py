"""`prepare` against a single polars process that does the same job, and how its time grows with the
data.

Each side runs in a process of its own, by turns: interactions in MovieLens' CSV shape to a catalog
and one history a user, repeated movies dropped, split into training, validation and test users, as
Parquet. Their results are compared. Polars drops repeats by its `unique`, as its documentation has
it, and a second time within each user, as dualrec does. Memory is the most that any single process
of a side held, the object store's pages that it had touched included.

    python scripts/synthesize.py --out DATA/3m --ratings 3200000 --users 20095 --movies 87585
    python scripts/synthesize.py --out DATA/32m
    python scripts/bench_prepare.py DATA/3m DATA/32m --rounds 3
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import polars as pl
import psutil
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from dualrec.config.settings import Settings, load_settings
from dualrec.data.catalog import build_catalog
from dualrec.data.files import data_place
from dualrec.data.interactions import open_source
from dualrec.data.prepare import prepared
from dualrec.data.splits import SPLITS, split_of
from dualrec.storage.workspace import Workspace

LOOK_S = 0.2
LISTS = ("item_ids", "timestamps", "ratings")
OURS, POLARS, POLARS_AS_OURS = "dualrec prepare", "polars", "polars, repeats as dualrec finds them"


class Run(NamedTuple):
    """What one run of a side took."""

    seconds: float
    peak_gib: float


def by_polars(folder: Path, target: Path, settings: Settings, within_users: bool) -> None:
    """The same job without Ray, in this process, on all cores; repeats are found within each user,
    or by `unique`."""
    source = open_source(
        data_place(str(folder), settings.cache), None, settings.data, settings.cache
    )
    names = ["user_id", "item_ids", "ratings", "timestamps"]
    types = [pl.Int64, pl.Int64, pl.Float32, pl.Int64]
    rows = pl.read_csv(source.interactions[0].path, new_columns=names, schema_overrides=types)
    ordered = rows.sort("user_id", "timestamps", maintain_order=True)
    if within_users:
        first = ordered.filter(pl.col("item_ids").is_first_distinct().over("user_id"))
    else:
        first = ordered.unique(["user_id", "item_ids"], keep="first", maintain_order=True)
    histories = first.group_by("user_id", maintain_order=True).agg(LISTS)
    histories = histories.with_columns(
        split=pl.Series(split_of(histories["user_id"].to_numpy(), settings.data))
    )
    of_training = (
        histories.filter(pl.col("split") == "train").select("item_ids").explode("item_ids")
    )
    counts = of_training.group_by("item_ids").len()
    table = pa.table(
        {"item_id": counts["item_ids"].to_numpy(), "count": counts["len"].cast(pl.Int64).to_numpy()}
    )
    catalog = build_catalog(source.items, table, settings.data.top_items)
    kept = pl.Series(catalog.column("item_id").to_numpy())
    left = histories.explode(LISTS).filter(pl.col("item_ids").is_in(kept.implode()))
    lists = left.group_by("user_id", maintain_order=True).agg(LISTS)
    whole = histories.select("user_id", "split").join(lists, on="user_id", how="left")
    whole = whole.with_columns(pl.col(name).fill_null([]) for name in LISTS)
    pl.DataFrame(catalog).write_parquet(target / "catalog.parquet", compression="snappy")
    for split in SPLITS:
        whole.filter(pl.col("split") == split).write_parquet(
            target / f"{split}.parquet", compression="snappy"
        )


def measured(command: list[str]) -> Run:
    """Run a command; its seconds, and the largest resident memory of any of its processes."""
    started, most = time.perf_counter(), 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    top = psutil.Process(process.pid)
    while process.poll() is None:
        time.sleep(LOOK_S)
        for one in _tree(top):
            try:
                most = max(most, one.memory_info().rss)
            except psutil.Error:
                continue
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} exited with {process.returncode}")
    return Run(seconds, most / 2**30)


def _tree(top: psutil.Process) -> list[psutil.Process]:
    try:
        return [top, *top.children(recursive=True)]
    except psutil.Error:
        return []


def check_same(settings: Settings, target: Path) -> None:
    """Stop unless both sides wrote the same histories."""
    workspace = Workspace.of(settings)
    ours = pl.read_parquet(
        f"{workspace.path(prepared(workspace, settings).histories)}/split=test/*.parquet"
    )
    theirs = pl.read_parquet(target / "test.parquet")
    columns = ["user_id", "item_ids", "timestamps"]
    if not ours.select(columns).sort("user_id").equals(theirs.select(columns).sort("user_id")):
        raise SystemExit("the two sides wrote different histories")


def compare(folder: Path, rounds: int) -> dict[str, list[Run]]:
    """All sides on one data set, by turns."""
    runs: dict[str, list[Run]] = {OURS: [], POLARS: [], POLARS_AS_OURS: []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=folder.parent) as name:
            overrides = [f"workspace={name}/workspace", f"data.source={folder}", "data.top_items=0"]
            words = [word for override in overrides for word in ("--set", override)]
            runs[OURS].append(measured([sys.executable, "-m", "jobs.prepare", *words]))
            for side, more in ((POLARS, []), (POLARS_AS_OURS, ["--within-users"])):
                target = Path(name, side)
                target.mkdir()
                command = [sys.executable, __file__, "--by-polars", str(target), *more, str(folder)]
                runs[side].append(measured(command))
                check_same(load_settings(None, overrides), target)
    return runs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        help="data sets in MovieLens' CSV shape, the smallest first",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--by-polars", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--within-users", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.by_polars:
        settings = load_settings(None, ["data.top_items=0"])
        by_polars(arguments.folders[0], arguments.by_polars, settings, arguments.within_users)
        return
    table = Table("data", "side", "seconds", "largest process, GiB", "dualrec's seconds, of it")
    took: dict[Path, float] = {}
    for folder in arguments.folders:
        for side, runs in compare(folder, arguments.rounds).items():
            seconds = median(run.seconds for run in runs)
            ours = took.setdefault(folder, seconds)
            ratio = "" if side == OURS else f"{ours / seconds:.2f}"
            table.add_row(
                folder.name,
                side,
                f"{seconds:.1f}",
                f"{max(run.peak_gib for run in runs):.2f}",
                ratio,
            )
    console = Console()
    console.print(table)
    first = arguments.folders[0]
    for folder in arguments.folders[1:]:
        console.print(
            f"time for {folder.name}, of that for {first.name}: {took[folder] / took[first]:.1f} times"
        )


if __name__ == "__main__":
    main()
