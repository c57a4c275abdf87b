"""How long answers take: `dualrec serve` under a steady rate of questions, beside the same app
without Ray Serve.

Questions come at random moments (a Poisson process, seeded), whether the ones before are answered
or not, and each is timed
from the moment at which it was due: three quarters ask for a published list, a quarter has a
history of fifty movies scored.
The rival is the same app under uvicorn alone: one process, each history scored by itself. Both
serve the same made-up night over the histories and the sequence model of the workspace; they are
asked in turn, in several rounds.

    python scripts/bench_serving.py --config jobs/configs/local.yaml --set workspace=bench/workspace
    --rate 50 --seconds 20
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import requests
from rich.console import Console

from dualrec.config.settings import PublishSettings, load_settings
from dualrec.data.prepare import Prepared, prepared
from dualrec.publishing.manifest import Snapshot, staging_folder
from dualrec.publishing.publish import publish
from dualrec.publishing.verify import verify_lists
from dualrec.sequence.artifact import sequence_name
from dualrec.storage.schemas import RECOMMENDATIONS, conform
from dualrec.storage.workspace import Workspace

NIGHT, LENGTH, HISTORY = date(2026, 1, 1), 10, 50
SCORED_SHARE = 0.25
PORTS = {"dualrec serve": 8811, "uvicorn alone": 8812}
STARTS_WITHIN_S = 180.0

Questions = list[tuple[float, str, dict[str, Any] | None]]


def publish_night(
    source: Workspace, data: Prepared, model: str, target: Workspace
) -> tuple[np.ndarray, np.ndarray]:
    """Publish a night of random lists in a copy of what serving reads of the workspace; the users'
    and the movies' ids."""
    for name in (f"catalog/{data.version}", f"histories/{data.version}", model):
        with target.writing(name, source.description(name)) as folder:
            content = source.path(source.content(name))
            pafs.copy_files(content, folder, source.filesystem, target.filesystem)
    users = _users(source, data)
    folder = staging_folder(NIGHT, "bench")
    target.filesystem.create_dir(target.path(folder), recursive=True)
    pq.write_table(
        _lists(users, data.catalog),
        target.path(f"{folder}/part-0.parquet"),
        filesystem=target.filesystem,
    )
    whole = verify_lists(target, folder, users, NIGHT, LENGTH)
    models = {"sequence": model, "data": data.version, "histories": f"histories/{data.version}"}
    night = Snapshot(run_date=NIGHT, run_id="bench", users=whole.users, rows=whole.rows, files=whole.files, models=models,
                  settings_hash="bench", metrics={}, cost={})  # fmt: skip
    publish(target, night, 0, PublishSettings())
    return users, data.catalog.column("item_id").to_numpy()


def _users(workspace: Workspace, data: Prepared) -> np.ndarray:
    tables = [
        pq.read_table(path, columns=["user_id"], filesystem=workspace.filesystem, partitioning=None)
        for path in workspace.parquet_files(f"histories/{data.version}")
    ]
    return np.sort(pa.concat_tables(tables).column("user_id").to_numpy())


def _lists(users: np.ndarray, catalog: pa.Table) -> pa.Table:
    places = np.random.default_rng(0).integers(0, len(catalog), (len(users), LENGTH)).ravel()
    movies, rows = catalog.take(pa.array(places)), len(places)
    columns = {
        "run_date": [NIGHT] * rows, "user_id": np.repeat(users, LENGTH), "rank": np.tile(np.arange(1, LENGTH + 1), len(users)),
        **{name: movies.column(name) for name in ("item_id", "title", "year", "genres")},
        "score": np.ones(rows), "source": ["both"] * rows, "similar_history": [[item] for item in movies.column("item_id").to_pylist()],
    }  # fmt: skip
    return conform(pa.table(columns), RECOMMENDATIONS, "the lists")


def questions(
    users: np.ndarray, items: np.ndarray, rate: float, seconds: float, seed: int
) -> Questions:
    """When each question is due, in seconds, its path, and what is posted."""
    random = np.random.default_rng(seed)
    due = np.cumsum(random.exponential(1 / rate, int(rate * seconds)))
    asked: Questions = []
    for moment in due.tolist():
        if random.random() < SCORED_SHARE:
            asked.append(
                (moment, "/recommendations", {"history": random.choice(items, HISTORY).tolist()})
            )
        else:
            asked.append((moment, f"/users/{random.choice(users)}/recommendations", None))
    return asked


async def ask_all(url: str, asked: Questions) -> list[float]:
    """The seconds from when each was due to its answer; infinite where it was not answered with
    200."""
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as session:
        started = time.perf_counter() + 0.5

        async def one(due: float, path: str, body: dict[str, Any] | None) -> float:
            await asyncio.sleep(started + due - time.perf_counter())
            method = session.get(path) if body is None else session.post(path, json=body)
            async with method as answer:
                await answer.read()
                return time.perf_counter() - started - due if answer.status == 200 else float("inf")

        return await asyncio.gather(*(one(*question) for question in asked))


@contextmanager
def served(name: str, workspace: str) -> Iterator[str]:
    """Start a side in a process of its own; gives its URL."""
    port = PORTS[name]
    own = {"dualrec serve": ["-c", "from dualrec.cli import main; main()", "serve", "--set", f"workspace={workspace}",
                             "--set", f"serving.port={port}", "--set", "serving.cpus=0.5"],
           "uvicorn alone": [__file__, "--alone", workspace]}[name]  # fmt: skip
    process = subprocess.Popen([sys.executable, *own], stdout=subprocess.DEVNULL)
    url, until = f"http://127.0.0.1:{port}", time.monotonic() + STARTS_WITHIN_S
    try:
        while not _answers(url):
            assert time.monotonic() < until and process.poll() is None, f"{name} did not start"
            time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=5).status_code == 200
    except requests.RequestException:  # not there yet, or its proxy is before the app
        return False


def serve_alone(workspace: str) -> None:
    """The rival: the app in this process, nothing else."""
    import uvicorn

    from dualrec.serving.app import create_app
    from dualrec.serving.snapshot import MovieRow, PublishedSnapshot, SnapshotWatch

    async def score(snapshot: PublishedSnapshot, history: list[int]) -> list[MovieRow]:
        return (await asyncio.to_thread(snapshot.rank_by_sequence, [history]))[0]

    uvicorn.run(
        create_app(SnapshotWatch(Workspace(workspace)), score),
        port=PORTS["uvicorn alone"],
        log_level="error",
    )


def main() -> None:
    """Publish, serve by both, ask in turn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--rate", type=float, default=50, help="questions a second")
    parser.add_argument("--seconds", type=float, default=20, help="of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.alone:
        serve_alone(given.alone)
        return
    console = Console(soft_wrap=True)
    settings = load_settings(given.config, given.overrides)
    source = Workspace.of(settings)
    data = prepared(source, settings)
    model = sequence_name(data, settings)
    source.require(model, "train-sequence")
    with tempfile.TemporaryDirectory() as folder:
        copy = str(Path(folder, "workspace"))
        users, items = publish_night(source, data, model, Workspace(copy))
        console.print(f"{len(users):,} users with lists, {len(items):,} movies; {given.rate:g} questions a second, "
                      f"{given.rounds} rounds of {given.seconds:g} s")  # fmt: skip
        told: dict[tuple[str, bool], list[np.ndarray]] = {}
        for number in range(given.rounds):
            for name in PORTS:
                asked = questions(users, items, given.rate, given.seconds, seed=number)
                with served(name, copy) as url:
                    asyncio.run(
                        ask_all(url, asked[:50])
                    )  # the first ones load what is loaded when first needed
                    took = np.array(asyncio.run(ask_all(url, asked)))
                scored = np.array([body is not None for _, _, body in asked])
                for kind in (False, True):
                    told.setdefault((name, kind), []).append(took[scored == kind])
    _show(console, told)


def _show(console: Console, told: dict[tuple[str, bool], list[np.ndarray]]) -> None:
    for kind, what in (
        (False, "published lists"),
        (True, f"histories of {HISTORY} movies, scored"),
    ):
        medians = {}
        for name in PORTS:
            rounds = told[name, kind]
            p50, p99 = (
                float(np.median([np.percentile(one, share) for one in rounds]))
                for share in (50, 99)
            )
            failed = sum(int(np.isinf(one).sum()) for one in rounds)
            medians[name] = p50
            console.print(f"{what}, {name}: p50 {1000 * p50:.1f} ms, p99 {1000 * p99:.1f} ms, "
                          f"{sum(map(len, rounds)):,} asked, {failed} not answered")  # fmt: skip
        ours, rival = (medians[name] for name in PORTS)
        console.print(f"  p50 of dualrec serve is {ours / rival:.2f} times that of uvicorn alone")


if __name__ == "__main__":
    main()
