"""Generate answers by an OpenAI-compatible endpoint under Ray Data. Takes requests with messages,
which it builds where no tokenizer is at hand; gives what generate gives.

Ray's HTTP processor carries the rows. As Ray 2.60 has it, it sends a batch's requests one after
another, paces only how fast it builds them, does not try 500 again, stops the whole job at the
first row that keeps failing or answers no JSON, passes a refused key's message on as an answer, and
shows its headers, a key among them, to Ray's export of operators. So it gets a session of ours
(ChatSession), which sends at once, paces, tries again, caps, and makes of every failure an error of
its own row; the key lies in that session alone, and comes from the environment of the job.
"""

import asyncio
import json
import os
import time
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dualrec.assets.connectivity import why_unreachable
from dualrec.cluster.resources import cluster_gpus, engine_replicas
from dualrec.config.settings import EndpointSettings, LanguageSettings
from dualrec.errors import EndpointError
from dualrec.language.models import LanguageModel
from dualrec.language.prompts.special_tokens import escape_special_tokens
from dualrec.language.prompts.texts import Messages, prompt_text, user_prompt
from dualrec.storage.schemas import PROMPTED, TRACES

CHARACTERS_PER_TOKEN = (
    3.0  # English prose has about four, titles and names fewer: this rather counts too many tokens
)
TOKENS_PER_MESSAGE = 8  # the special tokens that a chat template puts around each


class MessagesBuilder:
    """Adds `prompt string` and `messages list<struct<role, content>>` to requests with the sequence
    model's choices.

    Args:
        titles: the published title of each item id.
    """

    def __init__(self, settings: LanguageSettings, titles: dict[int, str]) -> None:
        self.settings, self.titles = settings, escape_special_tokens(titles)

    def __call__(self, requests: pa.Table) -> pa.Table:
        """Append the messages of a batch."""
        columns = (requests.column(name).to_pylist() for name in ("item_ids", "sequence_item_ids"))
        messages = [
            self._messages(item_ids, choices) for item_ids, choices in zip(*columns, strict=True)
        ]
        prompts = [prompt_text(conversation) for conversation in messages]
        kind = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
        requests = requests.append_column("prompt", pa.array(prompts, pa.string()))
        return requests.append_column("messages", pa.array(messages, kind))

    def _messages(self, item_ids: list[int], choices: list[int]) -> Messages:
        messages, _ = user_prompt(item_ids, choices, self.titles, self.settings, _as_many_tokens)
        return messages


def _as_many_tokens(messages: Messages) -> list[int]:
    return [0] * estimated_tokens(messages)


def estimated_tokens(messages: Messages) -> int:
    """About how many tokens the messages are."""
    characters = sum(len(message["content"]) for message in messages)
    return int(characters / CHARACTERS_PER_TOKEN) + TOKENS_PER_MESSAGE * len(messages) + 1


_ANSWER = ("generated_text", "prompt_tokens", "generated_tokens", "finish_reason", "error")


def generate_at_endpoint(
    requests: ray.data.Dataset, preset: LanguageModel, settings: LanguageSettings
) -> ray.data.Dataset:
    """Append generated_text, prompt_tokens, generated_tokens, finish_reason and error to requests
    of MessagesBuilder.

    Rows come back in any order. The spending cap and the rate hold for all rows of this call
    together.

    Raises:
        EndpointError: the environment holds no key, or the endpoint cannot be reached; or, while
            the rows run, it
            refuses the key.
    """
    from ray.data.llm import HttpRequestProcessorConfig, build_processor

    from dualrec.language.chat import RateLimiter

    endpoint, engine = settings.endpoint, settings.engine
    key = endpoint_key(endpoint)
    check_reachable(endpoint)
    # Beside the driver, with which the job ends anyway: elsewhere, every sender would fail with the
    # node of the meter.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    meter = (
        ray.remote(RateLimiter)
        .options(num_cpus=0, scheduling_strategy=here)
        .remote(endpoint.requests_per_second, endpoint.max_total_tokens)
    )
    config = HttpRequestProcessorConfig(
        url=f"{endpoint.url.rstrip('/')}/chat/completions",
        batch_size=engine.batch_size,
        concurrency=(1, engine_replicas(engine, cluster_gpus())),
        session_factory=_SessionFactory(endpoint, key, meter, settings.max_new_tokens),
        http_request_stage={"num_cpus": engine.cpus},
    )
    options = {
        "model": endpoint.model or preset.endpoint,
        "temperature": settings.temperature,
        "max_tokens": settings.max_new_tokens,
        "seed": settings.seed,
        **({"stop": list(preset.stop)} if preset.stop else {}),
    }
    processor = build_processor(
        config,
        preprocess=lambda row: {"payload": {**options, "messages": row.pop("messages")}},
        postprocess=lambda row: {
            **{name: row[name] for name in PROMPTED.names},
            **row["http_response"],
        },
        preprocess_map_kwargs={"num_cpus": 0.1},
        postprocess_map_kwargs={"num_cpus": 0.1},
    )
    return processor(requests).map_batches(_tidy, batch_format="pyarrow", num_cpus=0.1)


def endpoint_key(endpoint: EndpointSettings) -> str:
    """The key that the environment holds; empty for an endpoint without keys.

    Raises:
        EndpointError: it holds none.
    """
    name = endpoint.api_key_env
    key = os.environ.get(name, "").strip() if name else ""
    if name and not key:
        raise EndpointError(
            f"{endpoint.url} needs a key, and the environment variable {name} holds none: export "
            f"{name}=…, name another "
            "variable by language.endpoint.api_key_env, or set that to null for an endpoint "
            "without keys"
        )
    if not (key.isascii() and key.isprintable()):
        raise EndpointError(
            f"the environment variable {name} holds no key: there are line breaks or odd "
            f"characters in it"
        )
    return key


def check_reachable(endpoint: EndpointSettings) -> None:
    """Find out in seconds that nobody is there, before every row tries for itself. Any HTTP status
    is an answer.

    Raises:
        EndpointError: nobody answers.
    """
    for pause_s in (0, endpoint.backoff_s, 2 * endpoint.backoff_s):
        time.sleep(pause_s)
        if (problem := why_unreachable(endpoint.url, endpoint.connect_timeout_s)) is None:
            return
    raise EndpointError(
        f"{endpoint.url} cannot be reached ({problem}): check language.endpoint.url and this "
        f"machine's network"
    )


class _SessionFactory:
    """Makes the session of each batch. Not a dataclass: Ray writes those out field by field, and
    one holds the key."""

    def __init__(
        self, endpoint: EndpointSettings, key: str, meter: ActorHandle, max_new_tokens: int
    ) -> None:
        self._arguments = (endpoint, key, meter, max_new_tokens)

    def __call__(self) -> "_Session":
        return _Session(*self._arguments)


class _Session:
    """A ChatSession in the form of the aiohttp.ClientSession that Ray's HTTP stage works with."""

    def __init__(
        self, endpoint: EndpointSettings, key: str, meter: ActorHandle, max_new_tokens: int
    ) -> None:
        from dualrec.language.chat import ChatSession

        self._chat = ChatSession(endpoint, key, meter.admit.remote, meter.settle.remote)
        self._max_new_tokens = max_new_tokens
        self._under_way: list[asyncio.Task[_Response]] = []

    async def __aenter__(self) -> "_Session":
        await self._chat.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await self._chat.__aexit__(*error)

    def post(self, url: str, headers: dict[str, str], data: str) -> "asyncio.Task[_Response]":
        """Send a request at once; Ray awaits it when its turn comes."""
        task = asyncio.create_task(self._complete(url, data))
        self._under_way.append(task)
        return task

    async def _complete(self, url: str, body: str) -> "_Response":

        tokens = estimated_tokens(json.loads(body)["messages"]) + self._max_new_tokens
        return _Response(dict(await self._chat.complete(url, body, tokens)))


class _Response:
    """An answer in the form of an aiohttp response."""

    status = 200

    def __init__(self, answer: dict[str, Any]) -> None:
        self._answer = answer

    async def __aenter__(self) -> "_Response":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def json(self) -> dict[str, Any]:
        """The answer, as a ChatAnswer."""
        return self._answer


def _tidy(rows: pa.Table) -> pa.Table:
    """The contract's columns; rows that failed keep what they carried and get their error."""
    columns = {
        field.name: rows.column(field.name).cast(field.type) for field in PROMPTED
    }  # Ray may know none of a null
    errors = rows.column("error").to_pylist()
    for name in _ANSWER:
        values = rows.column(name).to_pylist()
        if name in ("prompt_tokens", "generated_tokens"):
            values = [None if value < 0 else value for value in values]
        elif name == "generated_text":
            values = [None if error else value for value, error in zip(values, errors, strict=True)]
        elif name == "error":
            values = [value or None for value in values]
        columns[name] = pa.array(values, TRACES.field(name).type)
    return pa.table(columns)
