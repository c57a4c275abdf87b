"""The HTTP interface, as a FastAPI app over a NightWatch. Knows no Ray: how a history is scored is
handed in."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI

from dualrec import __version__
from dualrec.serving.answers import (
    Answer,
    Health,
    LengthAsked,
    Question,
    Refusal,
    ServedNight,
    UserId,
)
from dualrec.serving.limits import MOST_BYTES, BodyLimit
from dualrec.serving.night import Movie, Night
from dualrec.serving.page_routes import add_pages
from dualrec.serving.watch import NightWatch

Scorer = Callable[[Night, list[int]], Awaitable[list[Movie]]]
Heard = Callable[[str], None]
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refusal, "description": "The body is no JSON that can be read."},
    413: {"model": Refusal, "description": f"The body is larger than {MOST_BYTES} bytes."},
}


def create_app(watch: NightWatch, score: Scorer, answered: Heard = lambda source: None) -> FastAPI:
    """Every route.

    Args:
        score: what the sequence model of a night expects after a history of known items.
        answered: told the source of each answer, for the metrics.
    """
    app = FastAPI(
        title="dualrec",
        version=__version__,
        description="The lists of the last published night, and the sequence model's for those who have none.",
    )
    app.add_middleware(BodyLimit)
    add_pages(app, watch)

    @app.get("/users/{user_id}/recommendations", summary="The list of a user")
    async def of_user(user_id: UserId, length: LengthAsked = 10) -> Answer:
        night = watch.night
        published = night.published(user_id)
        if published is not None:
            return _answer(night, "published", published[:length])
        return await _scored(night, night.history_of(user_id), length)

    @app.post(
        "/recommendations", summary="A list for a history, scored at once", responses=REFUSALS
    )
    async def of_history(question: Question) -> Answer:
        return await _scored(watch.night, question.history, question.length)

    @app.get("/health", summary="Which night is served, and whether it is the one that stands")
    async def health() -> Health:
        return Health(
            status="ok" if watch.failure is None else "stale",
            night=ServedNight(**asdict(watch.night.publication)),
            looked=watch.looked,
            failure=watch.failure,
        )

    async def _scored(night: Night, history: list[int], length: int) -> Answer:
        known = night.known(history)
        if not known:
            return _answer(night, "popularity", night.by_popularity(length), len(history))
        best = await score(night, known)
        return _answer(night, "sequence", best[:length], len(history) - len(known))

    def _answer(night: Night, source: str, movies: list[Movie], unknown: int = 0) -> Answer:
        answered(source)
        return Answer.model_validate(
            {
                "night": asdict(night.publication),
                "source": source,
                "unknown_movies": unknown,
                "recommendations": movies,
            }
        )

    return app
