"""A workspace with one published snapshot, and a client of the app over it."""

from pathlib import Path

import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

from dualrec.serving.app import create_app
from dualrec.serving.snapshot import MovieRow, PublishedSnapshot, SnapshotWatch
from dualrec.storage.workspace import Workspace
from tests.serving.site import publish_night, write_models


@pytest.fixture
def published(catalog: pa.Table, tmp_path: Path) -> Workspace:
    """Build a workspace whose snapshot run A published."""
    workspace = Workspace(str(tmp_path / "workspace"))
    write_models(workspace, catalog)
    publish_night(workspace, "A")
    return workspace


@pytest.fixture
def watch(published: Workspace) -> SnapshotWatch:
    """Serve that snapshot."""
    return SnapshotWatch(published)


@pytest.fixture
def client(watch: SnapshotWatch) -> TestClient:
    """Return a client of the app."""
    return TestClient(create_app(watch, score_alone), raise_server_exceptions=False)


async def score_alone(snapshot: PublishedSnapshot, history: list[int]) -> list[MovieRow]:
    """Score without batches, so without Ray."""
    return snapshot.rank_by_sequence([history])[0]
