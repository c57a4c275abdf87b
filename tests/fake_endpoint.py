"""A chat endpoint on this machine that can be told to fail: it answers by itself, or passes on to a
real one."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Request = dict[str, Any]


class FakeEndpoint(ThreadingHTTPServer):
    """Answers each request by the next of `faults`, and well once they are used up.

    A fault is a status, or "drop" (the connection), "hang", "rubbish" (no JSON), "empty" (no
    choices), "silent" (no text).

    Attributes:
        text: what it answers by itself.
        body: what it answers instead, as it is, where set.
        retry_after: the header of that name on every answer, where set.
        seen: the body of each request, with its `key` and `at`, the time.
    """

    daemon_threads = True

    def __init__(self, faults: list[int | str], upstream: str | None, key: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.faults, self.upstream, self.key = iter(faults), upstream, key
        self.seen: list[Request] = []
        self.text, self.body, self.retry_after = "Heat (1995)", "", ""
        self.lock, self.done = threading.Lock(), threading.Event()

    @property
    def url(self) -> str:
        """What language.endpoint.url takes."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: FakeEndpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        with self.server.lock:
            self.server.seen.append(
                {**json.loads(body), "key": key, "at": time.monotonic(), "path": self.path}
            )
            fault = next(self.server.faults, 200)
        if key != self.server.key:
            self._answer(401, {"error": {"message": f"wrong key {key}"}})
        elif isinstance(fault, int) and fault != 200:
            self._answer(fault, {"error": {"message": f"a fault, for {key}"}})
        elif fault == "hang":
            self.server.done.wait(30)
        elif fault in ("rubbish", "empty", "silent"):
            answers = {
                "rubbish": b"<html>",
                "empty": b'{"choices": []}',
                "silent": b'{"choices": [{"message": {"content": null}}]}',
            }
            self._send(200, answers[str(fault)])
        elif fault == 200:
            self._answer_well(body)

    def _answer_well(self, body: bytes) -> None:
        if self.server.upstream:
            self._pass_on(body)
        elif self.server.body:
            self._send(200, self.server.body.encode())
        else:
            self._answer(200, completion(self.server.text))

    def _pass_on(self, body: bytes) -> None:
        headers = {
            "Content-Type": "application/json",
            "Authorization": self.headers["Authorization"],
        }
        request = urllib.request.Request(f"{self.server.upstream}/chat/completions", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                self._send(200, response.read())
        except urllib.error.HTTPError as error:
            self._send(error.code, error.read())

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        self._send(status, json.dumps(body).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if self.server.retry_after:
            self.send_header("Retry-After", self.server.retry_after)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def completion(
    text: str = "Heat (1995)", prompt_tokens: int = 60, completion_tokens: int = 7
) -> dict[str, Any]:
    """A chat completion."""
    return {
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens},
    }


@contextmanager
def fake_endpoint(
    *faults: int | str, upstream: str | None = None, key: str = ""
) -> Iterator[FakeEndpoint]:
    """A running FakeEndpoint; with a key, it answers 401 to any other."""
    server = FakeEndpoint(list(faults), upstream, key)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    )
    thread.start()
    try:
        yield server
    finally:
        server.done.set()
        server.shutdown()
        server.server_close()
