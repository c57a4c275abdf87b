"""The app as a Ray Serve deployment: histories are scored in batches, and a new night is looked for
all the while."""

import asyncio
import itertools
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve import Application
from ray.serve.metrics import Counter, Gauge

from dualrec.config.settings import ServingSettings, Settings, StoreSettings, load_settings
from dualrec.serving.app import create_app
from dualrec.serving.night import Movie, Night
from dualrec.serving.watch import NightWatch
from dualrec.storage.workspace import Workspace

MOST_HISTORIES = 32  # scored together; they wait for one another at most BATCH_WAIT_S
BATCH_WAIT_S = 0.002
AT_A_TIME = 100  # requests that a replica works on; the rest wait in `serving.queue`


@serve.deployment(name="recommendations")
@serve.ingress()
class Recommendations:
    """A replica: one NightWatch, and the app over it.

    Args:
        workspace: the URI whose nights are served.
        store: how patiently it is asked.
    """

    def __init__(self, workspace: str, store: StoreSettings, poll_seconds: float) -> None:
        self.watch = NightWatch(Workspace(workspace, store))
        self.answers = Counter(
            "dualrec_serving_answers",
            description="Lists that were served, by source.",
            tag_keys=("source",),
        )
        self.night = Gauge(
            "dualrec_serving_night_seconds",
            description="Midnight of the night served, since 1970, UTC.",
        )
        self.stale = Gauge(
            "dualrec_serving_stale", description="1 while a newer night cannot be loaded."
        )
        self._tell()
        self.polling = asyncio.get_event_loop().create_task(self._poll(poll_seconds))

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The app of this replica."""
        return create_app(
            self.watch, self.score, lambda source: self.answers.inc(tags={"source": source})
        )

    async def score(self, night: Night, history: list[int]) -> list[Movie]:
        """What a night's sequence model expects after a history of known items."""
        movies: list[Movie] = await self._score_batch((night, history))
        return movies

    @serve.batch(max_batch_size=MOST_HISTORIES, batch_wait_timeout_s=BATCH_WAIT_S)
    async def _score_batch(self, asked: list[tuple[Night, list[int]]]) -> list[list[Movie]]:
        return await asyncio.to_thread(_each_by_its_night, asked)

    async def _poll(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            await asyncio.to_thread(self.watch.look)
            self._tell()

    def _tell(self) -> None:
        run_date = self.watch.night.publication.run_date
        self.night.set((run_date.toordinal() - 719_163) * 86_400)
        self.stale.set(float(self.watch.failure is not None))


def _each_by_its_night(asked: list[tuple[Night, list[int]]]) -> list[list[Movie]]:
    """Neighbours of one night are scored together; a batch holds two only in the moment between
    them."""
    answers: list[list[Movie]] = []
    for _, group in itertools.groupby(asked, key=lambda one: id(one[0])):
        members = list(group)
        answers += members[0][0].by_sequence([history for _, history in members])
    return answers


def application(settings: Settings) -> Application:
    """The Serve application of some settings."""
    own: ServingSettings = settings.serving
    deployment = Recommendations.options(  # type: ignore[attr-defined]
        num_replicas=own.replicas,
        ray_actor_options={"num_cpus": own.cpus},
        max_ongoing_requests=AT_A_TIME,
        max_queued_requests=own.queue,
    )
    bound: Application = deployment.bind(
        Workspace.of(settings).uri, settings.network.store, own.poll_seconds
    )
    return bound


def build(arguments: dict[str, Any]) -> Application:
    """What `serve deploy` and `serve run` call, with `config` (a YAML file) and `set` (a list of
    KEY=VALUE)."""
    return application(load_settings(arguments.get("config"), arguments.get("set")))
