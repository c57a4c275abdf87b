"""What is answered over HTTP: the published list, the sequence model's, or the most watched; and
what is refused."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dualrec.publishing.manifest import manifest_name
from dualrec.serving.app import MAX_BODY_BYTES
from dualrec.serving.snapshot import SnapshotWatch
from dualrec.storage.workspace import Workspace
from tests.staged import NIGHT


def asked(client: TestClient, user: Any, **query: Any) -> dict[str, Any]:
    """A list that must be there."""
    answer = client.get(f"/users/{user}/recommendations", params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def posted(client: TestClient, **question: Any) -> dict[str, Any]:
    """A list for a history, that must be there."""
    answer = client.post("/recommendations", json=question)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_user_has_the_published_list(client: TestClient) -> None:
    answer = asked(client, 3)
    assert answer["source"] == "published"
    assert answer["snapshot"] == {"run_date": str(NIGHT), "number": 1, "run_id": "A"}
    assert [(row["rank"], row["item_id"], row["title"]) for row in answer["recommendations"]] == [
        (1, 1, "A"), (2, 2, "A"), (3, 3, "A"),
    ]  # fmt: skip
    assert len(asked(client, 3, length=2)["recommendations"]) == 2


def test_a_user_without_a_list_has_what_the_sequence_model_expects_after_the_history(
    client: TestClient,
) -> None:
    answer, same = asked(client, 20), posted(client, history=[3, 4])
    assert answer["source"] == "sequence"
    assert answer["recommendations"] == same["recommendations"]
    assert {row["item_id"] for row in answer["recommendations"]} == {1, 2, 5, 6}, (
        "all but what was watched"
    )
    scores = [row["score"] for row in answer["recommendations"]]
    assert scores == sorted(scores, reverse=True)
    assert answer["recommendations"][0]["similar_history"] == [
        {"item_id": 4, "title": "Seven (Se7en) (1995)"}
    ]


@pytest.mark.parametrize("user", [21, 404, -1])
def test_a_stranger_and_an_empty_history_have_the_most_watched_movies(
    client: TestClient, user: int
) -> None:
    answer = asked(client, user, length=4)
    assert answer["source"] == "popularity"
    assert [row["item_id"] for row in answer["recommendations"]] == [1, 2, 3, 4], (
        "popularity falls with the id"
    )
    assert posted(client, history=[])["source"] == "popularity"


def test_movies_that_the_catalog_lacks_are_passed_over_and_counted(client: TestClient) -> None:
    answer = posted(client, history=[3, 999, 4])
    assert (answer["source"], answer["unknown_movies"]) == ("sequence", 1)
    assert answer["recommendations"] == posted(client, history=[3, 4])["recommendations"]
    assert posted(client, history=[999])["source"] == "popularity"


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/users/x/recommendations", None, 422),
        (f"/users/{2**63}/recommendations", None, 422),
        ("/users/1/recommendations?length=0", None, 422),
        ("/users/1/recommendations?length=101", None, 422),
        ("/nothing", None, 404),
        ("/recommendations", None, 405),
        ("/recommendations", b"", 422),
        ("/recommendations", b"{", 422),
        ("/recommendations", b"\xff\xfe", 422),
        ("/recommendations", b"[" * 60_000, 400),
        ("/recommendations", b'{"history": [1], "more": 1}', 422),
        ("/recommendations", b'{"history": ["1"]}', 422),
        ("/recommendations", b'{"history": [1.5]}', 422),
        ("/recommendations", b'{"history": [1], "length": "5"}', 422),
        ("/recommendations", b'{"history": [9223372036854775808]}', 422),
        ("/recommendations", b'{"history": [' + b"9" * 5000 + b"]}", 400),
        ("/recommendations", json.dumps({"history": [1] * 1001}).encode(), 422),
        ("/recommendations", b" " * (MAX_BODY_BYTES + 1), 413),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_question_is_refused(
    client: TestClient, path: str, body: bytes | None, code: int
) -> None:
    headers = {"content-type": "application/json"}
    answer = client.get(path) if body is None else client.post(path, content=body, headers=headers)
    assert answer.status_code == code, answer.text


def test_health_names_the_night_and_what_keeps_a_newer_one_back(
    client: TestClient, watch: SnapshotWatch
) -> None:
    assert client.get("/health").json()["status"] == "ok"
    watch.failure = "WorkspaceError: gone"
    health = client.get("/health").json()
    assert (health["status"], health["failure"]) == ("stale", "WorkspaceError: gone")
    assert health["snapshot"]["run_date"] == str(NIGHT)


def test_the_last_nights_figures_are_there_for_prometheus(client: TestClient) -> None:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'dualrec_nightly_start_seconds{state="published"}' in answer.text


def test_figures_that_cannot_be_read_are_told_as_503(
    client: TestClient, published: Workspace
) -> None:
    published.write_bytes(manifest_name(NIGHT, 9), b"{")
    answer = client.get("/metrics")
    assert answer.status_code == 503
    assert "is no manifest" in answer.json()["detail"]


def test_the_page_of_a_user_and_of_the_night_are_served(client: TestClient) -> None:
    assert f"The snapshot of {NIGHT}" in client.get("/").text
    page = client.get("/", params={"user": 3})
    assert page.headers["content-type"].startswith("text/html")
    assert "User 3" in page.text and page.text.count("<td>no list</td>") == 3, (
        "there is no previous snapshot"
    )
    assert client.get("/", params={"user": "x"}).status_code == 422
