"""One request to an endpoint that fails in every way there is."""

import asyncio
import json
import time
from datetime import UTC, datetime

import pytest

from dualrec.config.settings import EndpointSettings
from dualrec.errors import EndpointError
from dualrec.language.chat import (
    ChatAnswer,
    ChatSession,
    RateLimiter,
    parse_retry_after_s,
    read_answer,
)
from tests.fake_endpoint import FakeEndpoint, completion, fake_endpoint

KEY = "sk-secret-123"
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "movies?"}]})


def ask(
    server: FakeEndpoint, requests: int = 1, key: str = "", **settings: float
) -> tuple[list[ChatAnswer], RateLimiter]:
    """The answers to some requests sent at once, and the meter that saw them."""
    endpoint = EndpointSettings.model_validate(
        {
            "url": server.url,
            "retries": 2,
            "timeout_s": 0.4,
            "backoff_s": 0.01,
            "requests_per_second": 1000,
            **settings,
        }
    )
    meter = RateLimiter(endpoint.requests_per_second, endpoint.max_total_tokens)

    async def all_of_them() -> list[ChatAnswer]:
        async with ChatSession(endpoint, key, meter.admit, meter.settle) as session:
            url = f"{endpoint.url}/chat/completions"
            return await asyncio.gather(
                *(session.complete(url, BODY, 100) for _ in range(requests))
            )

    return asyncio.run(all_of_them()), meter


def test_an_answer_comes_with_its_token_counts_and_reason() -> None:
    with fake_endpoint(key=KEY) as server:
        (answer,), meter = ask(server, key=KEY)
    assert answer == {
        "generated_text": "Heat (1995)",
        "prompt_tokens": 60,
        "generated_tokens": 7,
        "finish_reason": "stop",
        "error": "",
    }
    assert meter.tokens == 67
    assert server.seen[0]["path"] == "/v1/chat/completions"
    assert server.seen[0]["messages"] == [{"role": "user", "content": "movies?"}]


@pytest.mark.parametrize("fault", [429, 500, 502, 503, 529, 408, "drop", "hang"])
def test_what_may_pass_is_tried_again(fault: int | str) -> None:
    with fake_endpoint(fault, fault) as server:
        (answer,), _ = ask(server)
    assert answer["error"] == ""
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (429, "gave up after 3 attempts: HTTP 429"),
        (500, "gave up after 3 attempts: HTTP 500"),
        ("drop", "gave up after 3 attempts: Server disconnected"),
        ("hang", "gave up after 3 attempts: no answer in 0.4 s"),
    ],
)
def test_what_never_passes_becomes_the_rows_error(fault: int | str, said: str) -> None:
    with fake_endpoint(*[fault] * 9) as server:
        (answer,), _ = ask(server)
    assert said in answer["error"]
    assert answer["finish_reason"] == "error"
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (400, "HTTP 400"),
        (403, "HTTP 403"),
        ("rubbish", "no JSON"),
        ("empty", "no chat completion"),
        ("silent", "without text"),
    ],
)
def test_what_another_try_cannot_mend_is_the_rows_error_at_once(
    fault: int | str, said: str
) -> None:
    with fake_endpoint(fault) as server:
        (answer, other), _ = ask(server, requests=2)
    assert sorted([said in answer["error"], said in other["error"]]) == [False, True]
    assert len(server.seen) == 2


@pytest.mark.parametrize(
    ("status", "said"), [(401, "key"), (402, "credit"), (404, "language.endpoint.url")]
)
def test_what_no_row_can_survive_is_raised_with_the_way_out(status: int, said: str) -> None:
    with fake_endpoint(status) as server, pytest.raises(EndpointError, match=said):
        ask(server)
    assert len(server.seen) == 1


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits of half a second and more, none of which is waited for."""
    waits: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float, *more: object) -> None:
        if seconds < 0.5:
            await sleep(seconds, *more)
        else:
            waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", noted)
    return waits


def test_the_wait_doubles_up_to_a_minute(slept: list[float]) -> None:
    with fake_endpoint(*[500] * 10) as server:
        (answer,), _ = ask(server, backoff_s=1.0, retries=10)
    assert answer["error"] == ""
    limits = [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert all(limit / 2 <= wait <= limit for wait, limit in zip(slept, limits, strict=True))
    assert slept[7:] == [60.0] * 3, "twice a minute and more, cut"


@pytest.mark.parametrize(("asked_for", "waited"), [("7", 7.0), ("7000", 60.0)])
def test_the_wait_is_at_least_what_the_endpoint_asks_for_up_to_a_minute(
    slept: list[float], asked_for: str, waited: float
) -> None:
    with fake_endpoint(429) as server:
        server.retry_after = asked_for
        (answer,), _ = ask(server)
    assert (answer["error"], slept) == ("", [waited])


def test_no_message_holds_the_key() -> None:
    with fake_endpoint(400, *[500] * 3, key=KEY) as server:
        answers = [ask(server, key=KEY)[0][0] for _ in range(2)]
    assert all("a fault, for [key]" in answer["error"] for answer in answers)
    with fake_endpoint(key="another") as server, pytest.raises(EndpointError) as raised:
        ask(server, key=KEY)
    assert KEY not in str(raised.value)


@pytest.mark.parametrize("key", [KEY, 'sk-"quoted\\"-key'])
@pytest.mark.parametrize(
    "body",
    [
        "x" * 195 + "KEY",  # cut in the middle of the key
        '{"choices": [], "padding": "' + "x" * 165 + 'KEY"}',
        '{"choices": [{"message": {"content": null, "refusal": "KEY"}}]}',
        json.dumps(completion("I was given KEY (1995)")),
        '{"choices": [{"message": {"content": "x"}, "finish_reason": "KEY"}]}',
    ],
)
def test_an_endpoint_that_repeats_the_key_in_its_answer_puts_none_of_it_in_a_trace(
    body: str, key: str
) -> None:
    with fake_endpoint(key=key) as server:
        server.body = body.replace("KEY", json.dumps(key)[1:-1])
        (answer,), _ = ask(server, key=key)
    assert "[key]" in str(answer)
    assert key[:4] not in str(answer)


def test_a_key_for_show_changes_no_answer() -> None:
    with fake_endpoint(key="Heat") as server:
        (answer,), _ = ask(server, key="Heat")
    assert answer["generated_text"] == "Heat (1995)"


def test_the_spending_cap_refuses_what_would_exceed_it() -> None:
    with fake_endpoint() as server:
        answers, meter = ask(server, requests=5, max_total_tokens=250)
    errors = [answer["error"] for answer in answers]
    assert (
        sum("spending cap" in error for error in errors) == 3
    )  # two requests of at most 100 tokens fit
    assert len(server.seen) == 2
    assert meter.tokens == 2 * 67


def test_lost_requests_count_as_spent_and_refused_ones_do_not() -> None:
    with fake_endpoint("drop", 429) as server:
        _, meter = ask(server)
    assert meter.tokens == 100 + 0 + 67


def test_requests_keep_to_the_rate() -> None:
    started = time.monotonic()
    with fake_endpoint() as server:
        ask(server, requests=6, requests_per_second=20)
    assert server.seen[-1]["at"] - started >= 5 / 20


def test_an_answer_without_usage_is_one_too() -> None:
    body = completion()
    del body["usage"]
    answer = read_answer(json.dumps(body))
    assert (answer["generated_text"], answer["generated_tokens"], answer["error"]) == (
        "Heat (1995)",
        -1,
        "",
    )


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("Tue, 24 Nov 2026 12:00:09 GMT", 9.0),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 0.0),
        ("Tue, 24 Nov 2026 12:00:09 -0000", 0.0),
        ("soon", 0.0),
        ("", 0.0),
    ],
)
def test_a_wait_is_asked_for_in_seconds_or_by_a_date(header: str, seconds: float) -> None:
    assert parse_retry_after_s(header, datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)) == seconds
