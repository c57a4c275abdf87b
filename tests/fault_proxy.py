"""A proxy in front of an S3 store that makes its faults: refusals, silence, connections that break
before or after.

It is a process of its own, `python -m tests.fault_proxy STORE PORT`, since delta-rs may hold the
lock of this one's interpreter while it waits for an answer. A test says over HTTP which requests
meet a fault, and asks which did.
"""

import http.client
import json
import re
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from tests.processes import free_port, running

# What S3 says with each status, as its documentation of errors has it.
REFUSALS = {
    "internal error": (500, "InternalError", "We encountered an internal error. Please try again."),
    "slow down": (503, "SlowDown", "Please reduce your request rate."),
    "expired": (400, "ExpiredToken", "The provided token has expired."),
}
# Faults that a job must outlast.
PASSING = ("internal error", "slow down", "silence", "dropped", "answer lost", "answer cut")
SILENCE_S = 30  # longer than the clients of a test wait
STORE_S = 60  # that the store has for an answer
CONTROL = "/-/faults/"  # and the bucket


@dataclass
class Faults:
    """Which requests meet a fault, of those whose method and path `matching` finds.

    Args:
        kinds: faults, each in its turn; none lets all pass.
        every: each so many-th request.
        after: requests that pass before the first.
        times: at most so many.
    """

    kinds: tuple[str, ...] = ()
    every: int = 1
    after: int = 0
    times: int = 1_000_000_000
    matching: str = ""


class FaultProxy:
    """The test's side of a proxy that runs at `url`: of its requests for one bucket, or of all that
    name no such bucket."""

    def __init__(self, url: str, bucket: str = "") -> None:
        self.url, self.bucket = url, bucket

    def of_bucket(self, bucket: str) -> "FaultProxy":
        """The same proxy for the requests of one bucket, whose faults are its own: tests may meet
        theirs at the same time."""
        return FaultProxy(self.url, bucket)

    def meet(self, *kinds: str, **which: Any) -> None:
        """From now on, let requests meet faults: see `Faults`. What was met so far is forgotten."""
        body = json.dumps(asdict(Faults(kinds, **which))).encode()
        urllib.request.urlopen(
            urllib.request.Request(self._control(), body), timeout=STORE_S
        ).close()

    def heal(self) -> list[str]:
        """Let all requests pass from now on; returns the faults that were met, in order."""
        met = self.met()
        self.meet()
        return met

    def met(self) -> list[str]:
        """The faults that were met since the last `meet`, in order."""
        with urllib.request.urlopen(self._control(), timeout=STORE_S) as answer:
            return list(json.loads(answer.read()))

    def _control(self) -> str:
        return f"{self.url}{CONTROL}{self.bucket}"


@contextmanager
def fault_proxy(store: str, log: Path) -> Iterator[FaultProxy]:
    """Run a proxy in front of a store until the block ends; without faults until a test asks for
    them."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "tests.fault_proxy", store, str(port)]
    with running(command, {"PATH": ""}, url + CONTROL, 60, log):
        yield FaultProxy(url)


class _State:
    """What the proxy's threads share."""

    def __init__(self, store: str) -> None:
        self.store = urlparse(store).netloc
        self.lock = threading.Lock()
        self.buckets = {"": _Bucket(Faults())}

    def set(self, bucket: str, faults: Faults) -> None:
        with self.lock:
            self.buckets[bucket] = _Bucket(faults)

    def met(self, bucket: str) -> list[str]:
        with self.lock:
            return self.buckets[bucket].met if bucket in self.buckets else []

    def fault_of(self, method: str, path: str) -> str | None:
        with self.lock:
            return self.buckets.get(urlparse(path).path.split("/")[1], self.buckets[""]).next(
                f"{method} {path}"
            )


class _Bucket:
    """The requests of one bucket."""

    def __init__(self, faults: Faults) -> None:
        self.faults, self.seen, self.met = faults, 0, list[str]()

    def next(self, request: str) -> str | None:
        faults = self.faults
        if not faults.kinds or not re.search(faults.matching, request):
            return None
        place, self.seen = self.seen - faults.after, self.seen + 1
        if place < 0 or place % faults.every or len(self.met) >= faults.times:
            return None
        self.met.append(faults.kinds[len(self.met) % len(faults.kinds)])
        return self.met[-1]


class _Handler(BaseHTTPRequestHandler):
    state: _State
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self._body()
        if self.path.startswith(CONTROL):
            self._control(self.path.removeprefix(CONTROL), body)
            return
        fault = self.state.fault_of(self.command, self.path)
        if fault in REFUSALS:
            self._refuse(*REFUSALS[fault])
        elif fault == "silence":
            time.sleep(SILENCE_S)
            self._drop()
        elif fault == "dropped":
            self._drop()
        else:
            self._pass_on(body, fault)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

    def _control(self, bucket: str, body: bytes) -> None:
        if body:
            self.state.set(bucket, Faults(**json.loads(body)))
        self._answer(200, [], json.dumps(self.state.met(bucket)).encode())

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _pass_on(self, body: bytes, fault: str | None) -> None:
        store = http.client.HTTPConnection(self.state.store, timeout=STORE_S)
        # The host stays the client's own: it is part of what was signed.
        left_out = ("transfer-encoding", "content-length", "expect", "connection")
        headers = {
            name: value for name, value in self.headers.items() if name.lower() not in left_out
        }
        store.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
        answer = store.getresponse()
        content = answer.read()
        store.close()
        if fault == "answer lost":
            self._drop()
            return
        self._answer(answer.status, answer.getheaders(), content, cut=fault == "answer cut")

    def _answer(
        self, status: int, headers: list[tuple[str, str]], content: bytes, cut: bool = False
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        # The answer to a HEAD tells a length and has no body.
        told = {name.lower(): value for name, value in headers}.get("content-length", "0")
        self.send_header("Content-Length", told if self.command == "HEAD" else str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self._drop()

    def _refuse(self, status: int, code: str, message: str) -> None:
        said = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        )
        self._answer(
            status,
            [("Content-Type", "application/xml")],
            said.encode() if self.command != "HEAD" else b"",
        )

    def _drop(self) -> None:
        """Break the connection off."""
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True  # the client gave up first


def main() -> None:
    """Run the proxy."""
    store, port = sys.argv[1:]
    _Handler.state = _State(store)
    ThreadingHTTPServer(("127.0.0.1", int(port)), _Handler).serve_forever()


if __name__ == "__main__":
    main()
