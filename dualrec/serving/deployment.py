"""The app as a Ray Serve deployment, and `dualrec serve`, which starts it. Histories are scored in
batches, and a new active snapshot is polled for."""

import asyncio
import itertools
import signal
import threading
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve import Application
from ray.serve.config import HTTPOptions
from ray.serve.metrics import Counter, Gauge
from rich.console import Console

from dualrec.cluster.session import ray_session
from dualrec.config.settings import Settings, StoreSettings, load_settings
from dualrec.errors import WorkspaceError
from dualrec.serving.app import create_app
from dualrec.serving.snapshot import (
    MovieRow,
    PublishedSnapshot,
    SnapshotWatch,
    require_publication,
)
from dualrec.storage.workspace import Workspace

MAX_BATCH = 32  # histories scored together; they wait for one another at most BATCH_WAIT_S
BATCH_WAIT_S = 0.002
MAX_ONGOING = 100  # requests that a replica works on; the rest wait in `serving.queue`


@serve.deployment(name="recommendations")
@serve.ingress()
class Recommendations:
    """A replica: one SnapshotWatch, and the app over it.

    Args:
        workspace: the URI whose active snapshot is served.
        store: timeouts and retries of the store.
    """

    def __init__(self, workspace: str, store: StoreSettings, poll_seconds: float) -> None:
        self.watch = SnapshotWatch(Workspace(workspace, store))
        self.responses = Counter(
            "dualrec_serving_answers",
            description="Lists that were served, by source.",
            tag_keys=("source",),
        )
        self.run_date = Gauge(
            "dualrec_serving_snapshot_seconds",
            description="Midnight of the served snapshot's run date, since 1970, UTC.",
        )
        self.stale = Gauge(
            "dualrec_serving_stale", description="1 while a newer snapshot cannot be loaded."
        )
        self._report_snapshot()
        self.polling = asyncio.get_event_loop().create_task(self._poll(poll_seconds))

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the app of this replica."""
        return create_app(
            self.watch, self.score, lambda source: self.responses.inc(tags={"source": source})
        )

    async def score(self, snapshot: PublishedSnapshot, history: list[int]) -> list[MovieRow]:
        """Return the sequence model's list of a snapshot for a history of known items."""
        movies: list[MovieRow] = await self._score_batch((snapshot, history))
        return movies

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=BATCH_WAIT_S)
    async def _score_batch(
        self, batch: list[tuple[PublishedSnapshot, list[int]]]
    ) -> list[list[MovieRow]]:
        return await asyncio.to_thread(_score_by_snapshot, batch)

    async def _poll(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            await asyncio.to_thread(self.watch.refresh)
            self._report_snapshot()

    def _report_snapshot(self) -> None:
        run_date = self.watch.snapshot.publication.run_date
        self.run_date.set((run_date.toordinal() - 719_163) * 86_400)
        self.stale.set(float(self.watch.failure is not None))


def _score_by_snapshot(
    batch: list[tuple[PublishedSnapshot, list[int]]],
) -> list[list[MovieRow]]:
    """Score neighbours of one snapshot together; a batch holds two only at the moment of change."""
    lists: list[list[MovieRow]] = []
    for _, group in itertools.groupby(batch, key=lambda request: id(request[0])):
        requests = list(group)
        snapshot = requests[0][0]
        lists += snapshot.rank_by_sequence([history for _, history in requests])
    return lists


def application(settings: Settings) -> Application:
    """Build the Serve application of some settings."""
    deployment = Recommendations.options(  # type: ignore[attr-defined]
        num_replicas=settings.serving.replicas,
        ray_actor_options={"num_cpus": settings.serving.cpus},
        max_ongoing_requests=MAX_ONGOING,
        max_queued_requests=settings.serving.queue,
    )
    bound: Application = deployment.bind(
        Workspace.of(settings).uri, settings.network.store, settings.serving.poll_seconds
    )
    return bound


def build(arguments: dict[str, Any]) -> Application:
    """Build the application for `serve deploy` and `serve run`.

    Args:
        arguments: `config` (a YAML file) and `set` (a list of KEY=VALUE).
    """
    return application(load_settings(arguments.get("config"), arguments.get("set")))


def serve_nights(settings: Settings, console: Console) -> None:
    """Serve the active snapshot until the process is interrupted.

    Raises:
        PublishError: nothing was published yet.
        WorkspaceError: the workspace cannot be read, or the snapshot cannot be served; the
            replicas' log says why.
    """
    run_date, number = require_publication(Workspace.of(settings))
    host, port = settings.serving.host, settings.serving.port
    with ray_session(settings.cluster):
        serve.start(http_options=HTTPOptions(host=host, port=port))
        try:
            serve.run(application(settings), name="dualrec", route_prefix="/")
        except RuntimeError as error:
            message = f"the snapshot of {run_date} cannot be served: {error}"
            raise WorkspaceError(message) from error
        console.print(
            f"serving the snapshot of {run_date}, number {number}: http://{host}:{port}/docs; "
            "Ctrl-C ends it",
            soft_wrap=True,
        )
        _wait_for_interrupt()
        serve.shutdown()


def _wait_for_interrupt() -> None:
    interrupted = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: interrupted.set())
    interrupted.wait()
