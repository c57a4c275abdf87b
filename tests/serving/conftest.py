"""A workspace with one published night, and a client of the app over it."""

from pathlib import Path

import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

from dualrec.serving.app import create_app
from dualrec.serving.night import Movie, Night
from dualrec.serving.watch import NightWatch
from dualrec.storage.workspace import Workspace
from tests.serving.site import publish_night, write_models


@pytest.fixture
def published(catalog: pa.Table, tmp_path: Path) -> Workspace:
    """A workspace whose night run A published."""
    workspace = Workspace(str(tmp_path / "workspace"))
    write_models(workspace, catalog)
    publish_night(workspace, "A")
    return workspace


@pytest.fixture
def watch(published: Workspace) -> NightWatch:
    """Serves that night."""
    return NightWatch(published)


@pytest.fixture
def client(watch: NightWatch) -> TestClient:
    """Asks the app."""
    return TestClient(create_app(watch, score_alone), raise_server_exceptions=False)


async def score_alone(night: Night, history: list[int]) -> list[Movie]:
    """Without batches, so without Ray."""
    return night.by_sequence([history])[0]
