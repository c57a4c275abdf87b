"""Send one chat completion over HTTP, tried again where that may help, within a rate and a spending
cap. Knows an endpoint and its key; no Ray, no users.

Whatever happens to a request, its row gets an answer or an error. Only what no further row can
survive is raised: a key that is refused, an account without credit, a model or an address that does
not exist.
"""

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypedDict

import aiohttp

from dualrec.config.settings import EndpointSettings
from dualrec.errors import EndpointError
from dualrec.storage.filesystems import redact_key


class RateLimiter:
    """Holds back requests that come too fast, and refuses those that the spending cap has no tokens
    left for.

    A request's tokens are set aside before it is sent, so that requests under way cannot exceed the
    cap together; what it did not use is given back. One limiter serves all senders.
    """

    def __init__(self, requests_per_second: float, max_total_tokens: int) -> None:
        self.interval_s, self.most = 1 / requests_per_second, max_total_tokens
        self.tokens, self.next_at = 0, 0.0

    async def admit(self, tokens: int) -> bool:
        """Set the tokens aside and wait for this request's turn; False, at once, where the cap is
        used up."""
        if self.most and self.tokens + tokens > self.most:
            return False
        self.tokens += tokens
        now = time.monotonic()
        turn = max(self.next_at, now)
        self.next_at = turn + self.interval_s
        await asyncio.sleep(turn - now)
        return True

    async def settle(self, set_aside: int, used: int) -> None:
        """Note what a request that was let in has really used."""
        self.tokens += used - set_aside


MAX_ANSWER_BYTES = 1 << 20  # of an answer: what is longer is no list of titles
FATAL_STATUSES = {
    401: "the key is refused: check what is in the environment variable that "
    "language.endpoint.api_key_env names ({key})",
    402: "the account has no credit left: top it up, or name another endpoint",
    404: "no such address or model: check language.endpoint.url ({url}) and "
    "language.endpoint.model",
}


class ChatAnswer(TypedDict):
    """What becomes of a request. Without an error, `generated_text` is the answer; -1: the endpoint
    did not say."""

    generated_text: str
    prompt_tokens: int
    generated_tokens: int
    finish_reason: str
    error: str


class ChatSession:
    """Sends chat completions: use as an async context, call `complete` for each.

    Args:
        key: sent as a bearer token, and cut out of every message; empty: none is sent.
        admit, settle: those of a RateLimiter.
    """

    def __init__(
        self,
        settings: EndpointSettings,
        key: str,
        admit: Callable[[int], Awaitable[bool]],
        settle: Callable[[int, int], Awaitable[None]],
    ) -> None:
        self.settings, self._key, self.admit, self.settle = settings, key, admit, settle

    async def __aenter__(self) -> "ChatSession":
        self.http = aiohttp.ClientSession(
            headers={
                "Content-Type": "application/json",
                **({"Authorization": f"Bearer {self._key}"} if self._key else {}),
            },
            timeout=aiohttp.ClientTimeout(total=self.settings.timeout_s),
            connector=aiohttp.TCPConnector(
                limit=0
            ),  # how many are under way is the caller's business
            trust_env=True,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()

    async def complete(self, url: str, body: str, tokens: int) -> ChatAnswer:
        """The answer to a request.

        Args:
            tokens: the most that it may use, prompt and answer together.

        Raises:
            EndpointError: no request of this job can be answered.
        """
        problem, requested_wait_s = "", 0.0
        for attempt in range(self.settings.retries + 1):
            if attempt:
                await asyncio.sleep(self._wait_s(attempt, requested_wait_s))
            if not await self.admit(tokens):
                return failed_answer(
                    f"spending cap: language.endpoint.max_total_tokens "
                    f"({self.settings.max_total_tokens:,}) is used up"
                )
            try:
                status, text, requested_wait_s = await self._post(url, body)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                problem = (
                    redact_key(str(error), self._key, "key")
                    or f"no answer in {self.settings.timeout_s:g} s"
                )
                # it may have been answered, and paid for, without reaching us: its tokens stay set
                # aside
                continue
            if status == 200:
                answer = read_answer(
                    redact_key(text, self._key, "key")
                )  # before anything is cut: half a key is no key to look for
                await self.settle(tokens, _used(answer, tokens))
                return answer
            await self.settle(tokens, 0)
            problem = f"HTTP {status}: {redact_key(text, self._key, 'key')[:200]}"
            if status in FATAL_STATUSES:
                self._give_up(status, url)
            if status not in (408, 429) and status < 500:
                return failed_answer(problem)
        return failed_answer(f"gave up after {self.settings.retries + 1} attempts: {problem}")

    async def _post(self, url: str, body: str) -> tuple[int, str, float]:
        async with self.http.post(url, data=body, allow_redirects=False) as response:
            content = await response.content.read(MAX_ANSWER_BYTES)
            while len(content) < MAX_ANSWER_BYTES and (
                more := await response.content.read(MAX_ANSWER_BYTES)
            ):
                content += more
            wait_s = parse_retry_after_s(response.headers.get("Retry-After", ""), datetime.now(UTC))
            return response.status, content.decode(errors="replace"), wait_s

    def _wait_s(self, attempt: int, requested_s: float) -> float:
        """Twice as long each time and never in step with other requests, but at least what the
        endpoint asked for."""
        own = self.settings.backoff_s * 2 ** (attempt - 1) * random.uniform(0.5, 1.0)
        return min(max(own, requested_s), self.settings.longest_wait_s)

    def _give_up(self, status: int, url: str) -> None:
        why = FATAL_STATUSES[status].format(url=self.settings.url, key=self.settings.api_key_env)
        raise EndpointError(f"{url} answers {status}: {why}")


def parse_retry_after_s(retry_after: str, now: datetime) -> float:
    """Return the seconds that a Retry-After header requests: a number of them or a date (RFC 9110,
    10.2.3); 0.0 for any other."""
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        return max((parsedate_to_datetime(retry_after) - now).total_seconds(), 0.0)
    except (ValueError, TypeError):  # TypeError: a date without a time zone
        return 0.0


def read_answer(text: str) -> ChatAnswer:
    """What the body of a chat completion says, or the error that it is none."""
    try:
        body = json.loads(text)
    except ValueError:
        return failed_answer(f"the endpoint answered no JSON: {text[:200]!r}")
    try:
        choice = body["choices"][0]
        content = choice["message"]["content"]
        if not isinstance(content, str):
            return failed_answer(f"the endpoint answered without text: {text[:200]}")
        usage = body.get("usage") or {}
        return {
            "generated_text": content,
            "prompt_tokens": int(usage.get("prompt_tokens", -1)),
            "generated_tokens": int(usage.get("completion_tokens", -1)),
            "finish_reason": str(choice.get("finish_reason") or "stop"),
            "error": "",
        }
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return failed_answer(f"the endpoint's answer is no chat completion: {text[:200]}")


def failed_answer(error: str) -> ChatAnswer:
    """The answer of a request that got none."""
    return {
        "generated_text": "",
        "prompt_tokens": -1,
        "generated_tokens": -1,
        "finish_reason": "error",
        "error": error,
    }


def _used(answer: ChatAnswer, set_aside: int) -> int:
    counts: tuple[Any, ...] = (answer["prompt_tokens"], answer["generated_tokens"])
    return set_aside if min(counts) < 0 else sum(counts)
