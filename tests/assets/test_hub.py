"""A model from a local stand-in for the Hugging Face hub."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dualrec.assets.hub import download_model
from dualrec.errors import AssetError

pytestmark = pytest.mark.timeout(60)

REPO = "someone/tiny"
COMMIT = "a" * 40
WEIGHTS = b"safe weights" * 1000
FILES = {
    "config.json": b"{}",
    "1_Pooling/config.json": b'{"pooling": 1}',
    "model.safetensors": WEIGHTS,
    "tokenizer.json": b"{}",
    "pytorch_model.bin": b"a pickle",
    "training_args.pt": b"a pickle",
    "tokenizer.bin": b"a pickle",
    "consolidated.safetensors": WEIGHTS,
    "onnx/config.json": b"{}",
    "README.md": b"words",
}


class Handler(BaseHTTPRequestHandler):
    server: "Hub"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        if self.server.gated and path.startswith("/api/"):
            return self._send(
                403, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "ask first"}, body
            )
        if path in (
            f"/api/models/{REPO}",
            f"/api/models/{REPO}/revision/main",
            f"/api/models/{REPO}/revision/{COMMIT}",
        ):
            siblings = [
                {
                    "rfilename": name,
                    "size": len(content),
                    "blobId": _sha1(content),
                    **_lfs(name, content),
                }
                for name, content in self.server.listed.items()
            ]
            listing = {"id": REPO, "modelId": REPO, "sha": COMMIT, "siblings": siblings, "tags": []}
            return self._send(
                200, json.dumps(listing).encode(), {"Content-Type": "application/json"}, body
            )
        if path == f"/api/models/{REPO}/tree/{COMMIT}":
            tree = [
                {
                    "type": "file",
                    "path": name,
                    "size": len(content),
                    "oid": _sha1(content),
                    **_lfs(name, content, "oid"),
                }
                for name, content in self.server.listed.items()
            ]
            return self._send(
                200, json.dumps(tree).encode(), {"Content-Type": "application/json"}, body
            )
        name = path.removeprefix(f"/{REPO}/resolve/{COMMIT}/")
        if name in self.server.served:
            content = self.server.served[name]
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{_sha1(self.server.listed[name])}"'}
            return self._send(200, content, headers, body)
        self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body)

    def _send(self, status: int, content: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def _lfs(name: str, content: bytes, key: str = "sha256") -> dict[str, object]:
    if not name.endswith(".safetensors"):
        return {}
    return {
        "lfs": {key: hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    }


class Hub(ThreadingHTTPServer):
    daemon_threads = True
    gated = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.listed = dict(FILES)
        self.served = dict(FILES)
        self.asked: list[str] = []


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    with Hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.server_port}")
        threading.Thread(
            target=hub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        (tmp_path / "downloads").mkdir()
        yield hub
        hub.shutdown()


def files(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_a_model_comes_without_pickles_and_without_copies_for_other_programs(
    hub: Hub, tmp_path: Path
) -> None:
    assert download_model(REPO, tmp_path / "target", tmp_path / "downloads") == COMMIT
    wanted = ("config.json", "1_Pooling/config.json", "model.safetensors", "tokenizer.json")
    assert files(tmp_path / "target") == {name: FILES[name] for name in wanted}
    assert not [path for path in hub.asked if path.endswith((".bin", ".pt"))]
    assert list((tmp_path / "downloads").iterdir()) == []


def test_weights_other_than_the_hub_lists_are_refused_and_fetched_anew(
    hub: Hub, tmp_path: Path
) -> None:
    hub.served["model.safetensors"] = b"evil weights" * 1000  # as long as the listed ones
    with pytest.raises(AssetError, match=r"model\.safetensors came cut short or corrupt"):
        download_model(REPO, tmp_path / "target", tmp_path / "downloads")
    assert not (tmp_path / "target").exists()
    hub.served["model.safetensors"] = WEIGHTS
    download_model(REPO, tmp_path / "target", tmp_path / "downloads")
    assert (tmp_path / "target/model.safetensors").read_bytes() == WEIGHTS


def test_a_part_of_a_model_never_passes_for_the_whole(hub: Hub, tmp_path: Path) -> None:
    del hub.served["tokenizer.json"]
    with pytest.raises(AssetError):
        download_model(REPO, tmp_path / "target", tmp_path / "downloads")
    assert list((tmp_path / "downloads").rglob("config.json"))  # a part did come
    hub.gated = (
        True  # the hub can be reached no longer, and what came must not be taken for the model
    )
    with pytest.raises(AssetError):
        download_model(REPO, tmp_path / "target", tmp_path / "downloads")
    assert not (tmp_path / "target").exists()


def test_a_model_of_pickled_weights_only_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.listed = hub.served = {"config.json": b"{}", "pytorch_model.bin": b"a pickle"}
    with pytest.raises(AssetError, match="safetensors"):
        download_model(REPO, tmp_path / "target", tmp_path / "downloads")


def test_a_gated_model_says_what_to_do(hub: Hub, tmp_path: Path) -> None:
    hub.gated = True
    with pytest.raises(
        AssetError, match=r"accept the terms at http://.*/someone/tiny, then set HF_TOKEN"
    ):
        download_model(REPO, tmp_path / "target", tmp_path / "downloads")


def test_an_unknown_model_is_an_error(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="someone/other: not on http://"):
        download_model("someone/other", tmp_path / "target", tmp_path / "downloads")


def test_a_hub_out_of_reach_is_told_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(AssetError, match=r"http://127\.0\.0\.1:9: cannot be reached"):
        download_model(REPO, tmp_path / "target", tmp_path)
    assert time.monotonic() - started < 10


def test_offline_asks_nobody_and_takes_a_model_that_the_hubs_own_cache_holds(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(AssetError, match="someone/tiny: cannot be had"):
        download_model(REPO, tmp_path / "target", tmp_path / "downloads")
    snapshot = tmp_path / "hub-cache/models--someone--tiny/snapshots" / COMMIT
    for name in ("config.json", "model.safetensors", "pytorch_model.bin"):
        snapshot.mkdir(parents=True, exist_ok=True)
        (snapshot / name).write_bytes(FILES[name])
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs/main").write_text(COMMIT)
    assert download_model(REPO, tmp_path / "target", tmp_path / "downloads") == COMMIT
    assert files(tmp_path / "target") == {"config.json": b"{}", "model.safetensors": WEIGHTS}
    assert hub.asked == []
