"""Messages for an endpoint, and answers from one that fails in many ways."""

from pathlib import Path

import pyarrow as pa
import pytest

from dualrec.cluster.session import raise_user_errors
from dualrec.config.settings import LanguageSettings, load_settings, version_of
from dualrec.errors import EndpointError, SettingsError
from dualrec.language.endpoint import MessagesBuilder, estimated_tokens, generate_at_endpoint
from dualrec.language.models import PRESETS
from dualrec.language.prompts.texts import titles_prompt
from dualrec.storage.schemas import REQUESTS, TRACES
from tests.conftest import MOVIES
from tests.fake_endpoint import FakeEndpoint, fake_endpoint

TITLES = {item: title for item, (title, _) in MOVIES.items()}
WATCHED = pa.table({"item_ids": [[3, 2], []], "sequence_item_ids": [[5], []]})


def test_the_messages_are_those_of_the_prompt() -> None:
    built = MessagesBuilder(LanguageSettings(), TITLES)(WATCHED).to_pylist()
    assert built[0]["messages"] == titles_prompt(
        ["Heat (1995)", "Bug's Life, A (1998)"], "Sabrina (1954)", 3
    )
    assert built[1]["messages"] == titles_prompt([], None, 3)
    assert built[0]["prompt"] == "\n\n".join(message["content"] for message in built[0]["messages"])


def test_older_movies_are_left_out_until_the_estimate_fits() -> None:
    long = pa.table({"item_ids": [[1, 2, 3, 4, 5, 6] * 5], "sequence_item_ids": [[3]]})
    settings = LanguageSettings(history_length=30, max_prompt_tokens=160)
    (row,) = MessagesBuilder(settings, TITLES)(long).to_pylist()
    shown = row["messages"][-1]["content"].splitlines()[1:-3]
    assert 0 < len(shown) < 30
    assert shown[-1] == "Sabrina (1995)"
    assert estimated_tokens(row["messages"]) <= 160


KEY = "sk-or-v1-never-to-be-seen"
PRESET = PRESETS["deepseek-v3"]


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("A_KEY", KEY)
    return KEY


def settings_of(server: FakeEndpoint, *more: str) -> LanguageSettings:
    own = [
        f"language.endpoint.url={server.url}",
        "language.endpoint.api_key_env=A_KEY",
        "language.endpoint.retries=4",
        "language.endpoint.requests_per_second=500",
        "language.endpoint.timeout_s=1",
        "language.endpoint.backoff_s=0.1",
        "language.endpoint.longest_wait_s=0.5",
        "language.endpoint.connect_timeout_s=1",
        "language.engine.batch_size=8",
    ]
    return load_settings(None, [*own, *more]).language


def answers(settings: LanguageSettings, users: int) -> list[dict[str, object]]:
    """What the endpoint makes of one request a user, in the order of the users."""
    import ray.data

    rows = [
        {
            "user_id": user,
            "purpose": "night",
            "decoding": "free",
            "item_ids": [3, 2],
            "held_out": [],
        }
        for user in range(users)
    ]
    requests = pa.Table.from_pylist(rows, schema=REQUESTS)
    requests = requests.append_column(
        "sequence_item_ids", pa.array([[5, 6]] * users, pa.list_(pa.int64()))
    )
    requests = requests.append_column(
        "sequence_scores", pa.array([[0.5, 0.25]] * users, pa.list_(pa.float32()))
    )
    titles = {item: title for item, (title, _) in MOVIES.items()}
    dataset = ray.data.from_arrow(MessagesBuilder(settings, titles)(requests)).repartition(2)
    with raise_user_errors():
        given = generate_at_endpoint(dataset, PRESET, settings).to_arrow_refs()
    return sorted(pa.concat_tables(ray.get(given)).to_pylist(), key=lambda row: row["user_id"])


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_every_row_comes_back_with_an_answer_or_its_error_and_what_it_carried(key: str) -> None:
    faults = [200] * 3 + ["rubbish", 200, 500, 400, 200, 429, 200, "drop", 200, "hang", "empty"]
    with fake_endpoint(*faults, key=key) as server:
        rows = answers(settings_of(server), 24)
    assert [row["user_id"] for row in rows] == list(range(24))
    failed = [row for row in rows if row["error"]]
    assert len(failed) == 3  # rubbish, empty and 400; the others were well at the second try
    assert len(server.seen) == 24 + 4
    for row in rows:
        assert row["sequence_item_ids"] == [5, 6] and row["prompt"].startswith(
            "You recommend movies."
        )
        told = (
            row["generated_text"],
            row["prompt_tokens"],
            row["generated_tokens"],
            row["finish_reason"],
        )
        assert told == (
            (None, None, None, "error") if row["error"] else ("Heat (1995)", 60, 7, "stop")
        )
    assert list(rows[0]) == TRACES.names[: TRACES.names.index("titles")]


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_the_endpoint_is_asked_as_the_settings_say(key: str) -> None:
    with fake_endpoint(key=key) as server:
        answers(
            settings_of(server, "language.endpoint.model=a/model", "language.temperature=0.5"), 1
        )
    (seen,) = server.seen
    assert [message["role"] for message in seen["messages"]] == ["system", "user"]
    assert {
        name: seen[name] for name in ("model", "temperature", "max_tokens", "stop", "seed")
    } == {
        "model": "a/model",
        "temperature": 0.5,
        "max_tokens": 64,
        "stop": ["\n\n"],
        "seed": 0,
    }


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_the_rows_after_the_spending_cap_get_its_error(key: str) -> None:
    with fake_endpoint(key=key) as server:
        rows = answers(settings_of(server, "language.endpoint.max_total_tokens=1000"), 24)
    refused = [row for row in rows if "spending cap" in str(row["error"])]
    assert len(refused) == 24 - len(server.seen)
    assert 0 < len(server.seen) * 67 <= 1000


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_wrong_key_stops_the_job_and_is_told_without_the_key(key: str) -> None:
    with (
        fake_endpoint(key="another") as server,
        pytest.raises(EndpointError, match="A_KEY") as raised,
    ):
        answers(settings_of(server), 24)
    assert KEY not in str(raised.value)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_the_key_reaches_no_log_of_ray(key: str, capfd: pytest.CaptureFixture[str]) -> None:
    import ray

    with fake_endpoint(400, 500, 500, "rubbish", key=key) as server:
        rows = answers(settings_of(server), 8)
    assert all(request["key"] == KEY for request in server.seen)
    logs = Path(ray._private.worker._global_node.get_logs_dir_path())
    holding = [
        path for path in logs.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()
    ]
    assert not holding
    assert KEY not in str(rows) + "".join(capfd.readouterr())


@pytest.mark.parametrize("held", [None, "", "  ", "sk-\nx"])
def test_a_missing_key_is_told_before_anything_is_sent(
    held: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("A_KEY", raising=False)
    if held is not None:
        monkeypatch.setenv("A_KEY", held)
    with fake_endpoint() as server:
        with pytest.raises(EndpointError, match="environment variable A_KEY"):
            generate_at_endpoint(None, PRESET, settings_of(server))  # type: ignore[arg-type]
        assert not server.seen


def test_an_endpoint_that_is_not_there_is_told_before_any_row_tries(key: str) -> None:
    with fake_endpoint(key=key) as server:
        gone = settings_of(server)
    with pytest.raises(
        EndpointError, match=r"cannot be reached \(.*refused\).*language\.endpoint\.url"
    ):
        generate_at_endpoint(None, PRESET, gone)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "override",
    [
        f"api_key_env={KEY}",
        f"api_key={KEY}",
        f"url=https://me:{KEY}@host/v1",
        f"url=https://host/v1?key={KEY}",
    ],
)
def test_a_key_among_the_settings_is_refused_and_not_repeated(override: str) -> None:
    with pytest.raises(SettingsError, match="language.endpoint") as raised:
        load_settings(None, [f"language.endpoint.{override}"])
    assert KEY not in str(raised.value)


def test_how_fast_an_endpoint_is_asked_makes_no_other_version_but_who_is_asked_does() -> None:
    def version(*overrides: str) -> str:
        return version_of(
            load_settings(None, [f"language.endpoint.{one}" for one in overrides]).language
        )

    paces = ("retries=1", "timeout_s=9", "connect_timeout_s=9", "backoff_s=9", "longest_wait_s=9")
    assert version(*paces, "requests_per_second=1", "api_key_env=A_KEY") == version()
    assert version("url=http://localhost/v1") != version() != version("model=other")
