"""What people and Prometheus look at: the page of dualrec/page, and the last night's figures. Both
read the workspace."""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

from dualrec.errors import DualrecError
from dualrec.nightly.prometheus import exposition
from dualrec.publishing.manifest import read_manifest
from dualrec.serving.answers import Refusal, UserAsked
from dualrec.serving.pages.html import html_page
from dualrec.serving.pages.run import run_view
from dualrec.serving.pages.user import user_view
from dualrec.serving.watch import NightWatch

UNREAD: dict[int | str, dict[str, Any]] = {
    503: {"model": Refusal, "description": "The workspace cannot be read just now."}
}
LINKS = {"the night": "?", "the interface": "docs"}


def add_pages(app: FastAPI, watch: NightWatch) -> None:
    """Add the routes / and /metrics."""

    @app.get("/", summary="A page to look at", response_class=HTMLResponse, responses=UNREAD)
    def page(user: UserAsked = None) -> Response:
        served = watch.night.publication
        night = read_manifest(watch.workspace, served.run_date, served.number)
        run = run_view(watch.workspace, night)
        view = None if user is None else user_view(watch.workspace, night, run.before, user)
        return HTMLResponse(html_page(run, view, LINKS, asks=True))

    @app.get(
        "/metrics",
        summary="The last night, for Prometheus",
        response_class=Response,
        responses=UNREAD,
    )
    def metrics() -> Response:
        return Response(exposition(watch.workspace), media_type=CONTENT_TYPE_LATEST)

    @app.exception_handler(DualrecError)
    def unread(request: Request, error: DualrecError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=503)
