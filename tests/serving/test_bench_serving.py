"""The benchmark of serving publishes a snapshot that can be served, in a workspace of its own."""

from pathlib import Path

import pyarrow as pa
from fastapi.testclient import TestClient

from dualrec.data.prepare import Prepared
from dualrec.serving.app import create_app
from dualrec.serving.snapshot import SnapshotWatch
from dualrec.storage.workspace import Workspace
from scripts import bench_serving
from tests.serving.conftest import score_alone
from tests.serving.site import LISTED, UNLISTED, write_models


def test_its_night_is_served(catalog: pa.Table, tmp_path: Path) -> None:
    source, target = Workspace(str(tmp_path / "source")), Workspace(str(tmp_path / "target"))
    write_models(source, catalog)
    data = Prepared("v1", "made up", catalog, "histories/v1")
    users, items = bench_serving.publish_night(source, data, "models/sequence/v1", target)
    assert users.tolist() == [*LISTED, *UNLISTED]
    with TestClient(create_app(SnapshotWatch(target), score_alone)) as client:
        questions = bench_serving.questions(users, items, rate=50, seconds=1, seed=0)
        for _, path, body in questions:
            answer = client.get(path) if body is None else client.post(path, json=body)
            assert answer.status_code == 200, answer.text
