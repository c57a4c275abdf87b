"""HTTP downloads against a local server that cuts, lies and refuses."""

import hashlib
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dualrec.assets import download as module
from dualrec.config.settings import DownloadSettings
from dualrec.errors import AssetError

pytestmark = pytest.mark.timeout(30)

BODY = bytes(range(256)) * 4000  # 1,024,000 bytes, more than one chunk
SHA256 = hashlib.sha256(BODY).hexdigest()
IMPATIENT = DownloadSettings(pause_s=0.01)
download = partial(module.download, settings=IMPATIENT)


class Handler(BaseHTTPRequestHandler):
    """Serves `server.body`; the server's attributes say with which faults."""

    protocol_version = "HTTP/1.1"
    server: "FaultyServer"

    def do_GET(self) -> None:
        server = self.server
        server.ranges_asked.append(self.headers.get("Range"))
        fault = server.faults.pop(0) if server.faults else {}
        if "status" in fault:
            return self.send_error(fault["status"])
        start = self._start() if server.knows_ranges else 0
        if start and start >= len(server.body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.body)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        body = server.body[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header(
                "Content-Range", f"bytes {start}-{len(server.body) - 1}/{len(server.body)}"
            )
        if server.etag:
            self.send_header("ETag", server.etag)
        sent = body[: fault.get("cut", len(body))]
        if server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            end = b"" if "cut" in fault else b"0\r\n\r\n"
            sent = b"%x\r\n%b\r\n%b" % (len(sent), sent, end)
        else:
            self.send_header("Content-Length", str(len(body) + fault.get("lie", 0)))
        self.end_headers()
        self.wfile.write(sent)
        self.close_connection = True

    def _start(self) -> int:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if_range = self.headers.get("If-Range")
        return int(asked[1]) if asked and if_range in (None, self.server.etag) else 0

    def log_message(self, *_: object) -> None:
        pass


class FaultyServer(ThreadingHTTPServer):
    daemon_threads = True
    body = BODY
    knows_ranges = True
    chunked = False
    etag: str | None = '"first"'

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults: list[dict[str, int]] = []  # one a request, the rest have none
        self.ranges_asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file.zip"


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with FaultyServer() as server:
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        yield server
        server.shutdown()


def only_file(folder: Path) -> str:
    (path,) = folder.iterdir()
    return path.name


def test_a_whole_download_has_the_exact_bytes_and_leaves_nothing_else(
    server: FaultyServer, tmp_path: Path
) -> None:
    assert download(server.url, tmp_path / "file.zip", SHA256) == SHA256
    assert (tmp_path / "file.zip").read_bytes() == BODY
    assert only_file(tmp_path) == "file.zip"
    assert server.ranges_asked == [None]


def test_a_cut_connection_is_gone_on_with_from_the_byte_reached(
    server: FaultyServer, tmp_path: Path
) -> None:
    server.faults = [{"cut": 300_000}]
    download(server.url, tmp_path / "file.zip")
    assert (tmp_path / "file.zip").read_bytes() == BODY
    assert server.ranges_asked == [None, "bytes=300000-"]


def test_a_body_of_unknown_length_that_is_cut_is_gone_on_with_too(
    server: FaultyServer, tmp_path: Path
) -> None:
    server.chunked = True
    server.faults = [{"cut": 300_000}]
    download(server.url, tmp_path / "file.zip")
    assert server.ranges_asked == [None, "bytes=300000-"]
    assert (tmp_path / "file.zip").read_bytes() == BODY


def test_a_line_that_breaks_often_gets_there_while_each_try_brings_something(
    server: FaultyServer, tmp_path: Path
) -> None:
    server.faults = [{"cut": 200_000}] * 5
    download(server.url, tmp_path / "file.zip", SHA256)
    assert server.ranges_asked == [None] + [
        f"bytes={n}-" for n in range(200_000, 1_000_001, 200_000)
    ]


def test_a_later_call_goes_on_where_the_earlier_one_gave_up(
    server: FaultyServer, tmp_path: Path
) -> None:
    server.faults = [{"cut": 300_000}, {"cut": 0}, {"cut": 0}]
    with pytest.raises(AssetError, match=r"300000 bytes are kept in .*file\.zip\.part, run again"):
        download(server.url, tmp_path / "file.zip", SHA256)
    assert not (tmp_path / "file.zip").exists()
    server.ranges_asked.clear()
    download(server.url, tmp_path / "file.zip", SHA256)
    assert server.ranges_asked == ["bytes=300000-"]
    assert (tmp_path / "file.zip").read_bytes() == BODY


def test_a_file_that_changed_meanwhile_is_begun_again(server: FaultyServer, tmp_path: Path) -> None:
    server.faults = [{"cut": 300_000}, {"cut": 0}, {"cut": 0}]
    with pytest.raises(AssetError):
        download(server.url, tmp_path / "file.zip")
    server.body, server.etag = BODY[::-1], '"second"'
    download(server.url, tmp_path / "file.zip")  # no SHA-256 is known: only If-Range can tell
    assert (tmp_path / "file.zip").read_bytes() == BODY[::-1]


def test_a_part_of_another_address_is_not_gone_on_with(
    server: FaultyServer, tmp_path: Path
) -> None:
    (tmp_path / "file.zip.part").write_bytes(b"something else")
    (tmp_path / "file.zip.part.json").write_text(
        '{"url": "http://elsewhere/file.zip", "validator": null}'
    )
    download(server.url, tmp_path / "file.zip")
    assert (tmp_path / "file.zip").read_bytes() == BODY


def test_a_server_that_knows_no_ranges_is_asked_from_the_start(
    server: FaultyServer, tmp_path: Path
) -> None:
    server.knows_ranges = False
    server.faults = [{"cut": 300_000}]
    download(server.url, tmp_path / "file.zip")
    assert server.ranges_asked == [None, "bytes=300000-"]
    assert (tmp_path / "file.zip").read_bytes() == BODY


def test_a_part_that_is_whole_already_is_taken(server: FaultyServer, tmp_path: Path) -> None:
    (tmp_path / "file.zip.part").write_bytes(BODY)
    (tmp_path / "file.zip.part.json").write_text(f'{{"url": "{server.url}", "validator": null}}')
    download(server.url, tmp_path / "file.zip", SHA256)
    assert server.ranges_asked == [f"bytes={len(BODY)}-"]
    assert (tmp_path / "file.zip").read_bytes() == BODY


def test_a_wrong_sha256_is_an_error_and_nothing_stays(server: FaultyServer, tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=rf"SHA-256 is {SHA256}, expected {'0' * 64}.*is deleted"):
        download(server.url, tmp_path / "file.zip", "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_body_shorter_than_its_content_length_never_passes(
    server: FaultyServer, tmp_path: Path
) -> None:
    server.knows_ranges = False
    server.faults = [{"lie": 500}] * 20
    with pytest.raises(AssetError, match=r"the connection failed|the body ended"):
        download(server.url, tmp_path / "file.zip")
    assert not (tmp_path / "file.zip").exists()
    assert len(server.ranges_asked) <= 1 + IMPATIENT.attempts


def test_a_finished_file_with_the_right_sum_is_not_fetched_again(
    server: FaultyServer, tmp_path: Path
) -> None:
    (tmp_path / "file.zip").write_bytes(BODY)
    assert download(server.url, tmp_path / "file.zip", SHA256) == SHA256
    assert server.ranges_asked == []


def test_a_finished_file_with_a_wrong_sum_is_fetched_again(
    server: FaultyServer, tmp_path: Path
) -> None:
    (tmp_path / "file.zip").write_bytes(b"rotten")
    download(server.url, tmp_path / "file.zip", SHA256)
    assert (tmp_path / "file.zip").read_bytes() == BODY


def test_a_missing_page_is_not_asked_for_twice(server: FaultyServer, tmp_path: Path) -> None:
    server.faults = [{"status": 404}] * 5
    with pytest.raises(AssetError, match="answered 404"):
        download(server.url, tmp_path / "file.zip")
    assert len(server.ranges_asked) == 1


def test_a_busy_server_is_asked_again(server: FaultyServer, tmp_path: Path) -> None:
    server.faults = [{"status": 503}]
    download(server.url, tmp_path / "file.zip", SHA256)
    assert len(server.ranges_asked) == 2


def test_a_machine_that_cannot_connect_learns_it_within_seconds(tmp_path: Path) -> None:
    with pytest.raises(
        AssetError, match=r"http://127\.0\.0\.1:9/file\.zip: the connection failed \(.*refused"
    ):
        download("http://127.0.0.1:9/file.zip", tmp_path / "file.zip")
    assert list(tmp_path.iterdir()) == []
