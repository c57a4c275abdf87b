"""An S3 server in a process of its own, reached over HTTP, and one in this process that answers as
a test says."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.processes import free_port, running

KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIAOFTHETESTS0000001",
    "AWS_SECRET_ACCESS_KEY": "a-secret-that-nobody-may-see",
}


@contextmanager
def s3_server(log: Path) -> Iterator[str]:
    """Run moto's S3 server until the block ends; gives its URL."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    url = f"http://127.0.0.1:{port}"
    with running(command, {"PATH": ""}, f"{url}/moto-api/", 60, log):
        yield url


@contextmanager
def answering(answer: Callable[[int], tuple[int, str]]) -> Iterator[tuple[str, list[str]]]:
    """A server that answers its nth request with what `answer(n)` says, status and body; gives its
    URL and the requests."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path}")
            status, body = answer(len(asked))
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body.encode())

        do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
