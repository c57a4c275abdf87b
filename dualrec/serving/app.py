"""The HTTP interface, as a FastAPI app over a SnapshotWatch: lists, health, pages and metrics.

Pages and metrics read the workspace, everything else the snapshot in memory. Knows no Ray: the
function that scores a history is passed in.
"""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dualrec import __version__
from dualrec.errors import DualrecError
from dualrec.nightly.prometheus import exposition
from dualrec.publishing.manifest import read_manifest
from dualrec.serving.http_schema import (
    ErrorResponse,
    Health,
    LengthQuery,
    ListRequest,
    ListResponse,
    ServedSnapshot,
    UserId,
    UserQuery,
)
from dualrec.serving.pages.html import html_page
from dualrec.serving.pages.run import run_view
from dualrec.serving.pages.user import user_view
from dualrec.serving.snapshot import MovieRow, PublishedSnapshot, SnapshotWatch

Scorer = Callable[[PublishedSnapshot, list[int]], Awaitable[list[MovieRow]]]
ResponseCounter = Callable[[str], None]
Responses = dict[int | str, dict[str, Any]]

MAX_BODY_BYTES = 64 * 1024  # a thousand movies of 20 digits take 21 KiB
BODY_ERRORS: Responses = {
    400: {"model": ErrorResponse, "description": "The body is no JSON that can be read."},
    413: {
        "model": ErrorResponse,
        "description": f"The body is larger than {MAX_BODY_BYTES} bytes.",
    },
}
STORE_ERRORS: Responses = {
    503: {"model": ErrorResponse, "description": "The workspace cannot be read just now."}
}
LINKS = {"the snapshot": "?", "the interface": "docs"}


def create_app(
    watch: SnapshotWatch, score: Scorer, count_response: ResponseCounter = lambda source: None
) -> FastAPI:
    """Create the app with every route.

    Args:
        score: returns the sequence model's list of a snapshot for a history of known items.
        count_response: called with the source of each list, for the metrics.
    """
    app = FastAPI(
        title="dualrec",
        version=__version__,
        description="The lists of the active snapshot, and the sequence model's for users without "
        "one.",
    )
    app.add_middleware(BodyLimit)
    _add_page_routes(app, watch)

    @app.get("/users/{user_id}/recommendations", summary="The list of a user")
    async def user_list(user_id: UserId, length: LengthQuery = 10) -> ListResponse:
        snapshot = watch.snapshot
        published = snapshot.published_list(user_id)
        if published is not None:
            return _respond(snapshot, "published", published[:length])
        return await _score(snapshot, snapshot.unlisted_history(user_id), length)

    @app.post(
        "/recommendations", summary="A list for a history, scored at once", responses=BODY_ERRORS
    )
    async def history_list(request: ListRequest) -> ListResponse:
        return await _score(watch.snapshot, request.history, request.length)

    @app.get("/health", summary="Which snapshot is served, and whether it is the active one")
    async def health() -> Health:
        return Health(
            status="ok" if watch.failure is None else "stale",
            snapshot=ServedSnapshot(**asdict(watch.snapshot.publication)),
            checked=watch.checked,
            failure=watch.failure,
        )

    async def _score(snapshot: PublishedSnapshot, history: list[int], length: int) -> ListResponse:
        known = snapshot.known_items(history)
        if not known:
            popular = snapshot.rank_by_popularity(length)
            return _respond(snapshot, "popularity", popular, len(history))
        best = await score(snapshot, known)
        return _respond(snapshot, "sequence", best[:length], len(history) - len(known))

    def _respond(
        snapshot: PublishedSnapshot, source: str, movies: list[MovieRow], unknown: int = 0
    ) -> ListResponse:
        count_response(source)
        return ListResponse.model_validate(
            {
                "snapshot": asdict(snapshot.publication),
                "source": source,
                "unknown_movies": unknown,
                "recommendations": movies,
            }
        )

    return app


def _add_page_routes(app: FastAPI, watch: SnapshotWatch) -> None:
    """Add the routes / and /metrics, which read the workspace."""

    @app.get("/", summary="A page to look at", response_class=HTMLResponse, responses=STORE_ERRORS)
    def page(user: UserQuery = None) -> Response:
        served = watch.snapshot.publication
        manifest = read_manifest(watch.workspace, served.run_date, served.number)
        run = run_view(watch.workspace, manifest)
        view = None
        if user is not None:
            view = user_view(watch.workspace, manifest, run.previous, user)
        return HTMLResponse(html_page(run, view, LINKS, has_form=True))

    @app.get(
        "/metrics",
        summary="The last nightly run, for Prometheus",
        response_class=Response,
        responses=STORE_ERRORS,
    )
    def metrics() -> Response:
        return Response(exposition(watch.workspace), media_type=CONTENT_TYPE_LATEST)

    @app.exception_handler(DualrecError)
    def unavailable(request: Request, error: DualrecError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=503)


class BodyLimit:
    """ASGI middleware that responds 413 to a body over MAX_BODY_BYTES, whatever its headers say,
    before it is read into memory."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body up to the limit, then pass it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body, more = b"", True
        while more and len(body) <= MAX_BODY_BYTES:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES:
            detail = {"detail": f"the body is larger than {MAX_BODY_BYTES} bytes"}
            await JSONResponse(detail, status_code=413)(scope, receive, send)
            return
        whole = {"type": "http.request", "body": body, "more_body": False}
        await self.app(scope, _replay(whole, receive), send)


def _replay(first: Message, then: Receive) -> Receive:
    waiting = [first]

    async def receive() -> Message:
        return waiting.pop() if waiting else await then()

    return receive
