"""The app under Ray Serve: asked over HTTP while nights are published, each answer is of one night,
and none fails."""

import threading
from collections.abc import Iterator
from datetime import date

import httpx
import pyarrow as pa
import pytest
from ray import serve
from ray.serve.config import HTTPOptions

from dualrec.config.settings import load_settings
from dualrec.serving.deployment import application
from dualrec.storage.workspace import Workspace
from tests.processes import free_port, wait_until
from tests.serving.site import publish_night, write_models

pytestmark = pytest.mark.ray
NEXT = date(2026, 11, 2)


@pytest.fixture
def url(published: Workspace, ray_cluster: None) -> Iterator[str]:
    """Where the published night is served."""
    port = free_port()
    settings = load_settings(
        None, [f"workspace={published.uri}", "serving.poll_seconds=0.2", "serving.cpus=0.5"]
    )
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=port))
    serve.run(application(settings), name="dualrec", route_prefix="/")
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()


def test_a_new_night_is_picked_up_while_it_is_asked_and_no_answer_mixes_two(
    url: str, published: Workspace, catalog: pa.Table
) -> None:
    seen: list[tuple[str, set[str]]] = []
    codes: set[int] = set()
    done = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            while not done.is_set():
                listed = client.get("/users/3/recommendations")
                scored = client.post("/recommendations", json={"history": [3, 4]})
                codes.update((listed.status_code, scored.status_code))
                seen.append(
                    (
                        listed.json()["snapshot"]["run_id"],
                        {row["title"] for row in listed.json()["recommendations"]},
                    )
                )
                seen.append(
                    (
                        scored.json()["snapshot"]["run_id"],
                        {str(len(scored.json()["recommendations"]))},
                    )
                )

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    wait_until(lambda: len(seen) > 30, 60)
    write_models(published, catalog.slice(0, 4), "v2", seed=1)
    publish_night(published, "B", NEXT, "v2")
    wait_until(lambda: any(run == "B" for run, _ in seen[-6:]), 60)
    done.set()
    for asker in askers:
        asker.join()
    assert codes == {200}
    # A's lists are titled A and its catalog leaves four unwatched movies of six; B's are titled B,
    # and leave two of four.
    assert {(run, *sorted(told)) for run, told in seen} == {
        ("A", "A"),
        ("A", "4"),
        ("B", "B"),
        ("B", "2"),
    }
    assert httpx.get(f"{url}/health").json()["snapshot"]["run_date"] == str(NEXT)
    assert httpx.post(f"{url}/recommendations", content=b"{").status_code == 422
