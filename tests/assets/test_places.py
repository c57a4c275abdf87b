"""Data and models of the user's own: folders, zips, tables, and buckets of a local S3 server."""

import os
import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dualrec.assets.cache import MARKER
from dualrec.assets.fetch import resolve_dataset, resolve_model
from dualrec.assets.places import dataset_name
from dualrec.config.settings import NetworkSettings, StoreSettings
from dualrec.errors import AssetError

pytestmark = pytest.mark.timeout(60)


def make_zip(path: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """A fresh bucket; `put` takes a key and bytes."""
    import boto3

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "dummy")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "dummy")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    name = f"b{abs(hash(request.node.name)):x}"
    bucket = boto3.resource("s3").create_bucket(Bucket=name)
    return bucket


def put(bucket: Any, key: str, body: bytes) -> None:
    bucket.put_object(Key=key, Body=body)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/data/ml-1m-warm.zip", "ml-1m-warm"),
        ("s3://bucket/views/2026.parquet", "2026"),
        ("s3://bucket/our views/", "our-views"),
        ("ml-100k", "ml-100k"),
        ("folder/", "folder"),
        ("/", "data"),
    ],
)
def test_a_source_has_a_short_name(source: str, name: str) -> None:
    assert dataset_name(source) == name


def test_a_local_folder_is_used_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/ratings.csv").write_text("")
    assert resolve_dataset(str(tmp_path / "mine"), tmp_path / "cache") == tmp_path / "mine"
    assert not (tmp_path / "cache").exists()


def test_a_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "views.csv").write_text("")
    monkeypatch.chdir(tmp_path)
    assert resolve_dataset("views.csv", "cache") == tmp_path / "views.csv"


@pytest.mark.parametrize("name", ["views.parquet", "views.csv", "VIEWS.CSV"])
def test_a_single_table_is_used_where_it_lies(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    assert resolve_dataset(str(tmp_path / name), tmp_path / "cache") == tmp_path / name


def test_another_single_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "views.xlsx").write_text("")
    with pytest.raises(
        AssetError, match=r"views\.xlsx: a single file should be a \.zip or a table"
    ):
        resolve_dataset(str(tmp_path / "views.xlsx"), tmp_path / "cache")


def test_a_zip_unpacks_into_the_cache_down_to_the_folder_with_the_files(tmp_path: Path) -> None:
    archive = make_zip(
        tmp_path / "own.zip",
        {"ml-1m/ratings.dat": "1", "ml-1m/movies.dat": "2", "__MACOSX/x": "junk"},
    )
    folder = resolve_dataset(str(archive), tmp_path / "cache")
    assert sorted(path.name for path in folder.iterdir()) == ["movies.dat", "ratings.dat"]
    assert folder.is_relative_to(tmp_path / "cache")
    assert folder.name == "ml-1m"
    (folder / "ratings.dat").write_text("touched")  # a second call must not unpack again
    assert (
        resolve_dataset(str(archive), tmp_path / "cache") / "ratings.dat"
    ).read_text() == "touched"


def test_a_zip_that_changed_is_unpacked_again(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "own.zip", {"ratings.csv": "old"})
    old = resolve_dataset(str(archive), tmp_path / "cache")
    seen = archive.stat()
    make_zip(archive, {"ratings.csv": "new"})  # as long as before
    os.utime(archive, ns=(seen.st_atime_ns, seen.st_mtime_ns + 1_000_000))
    new = resolve_dataset(str(archive), tmp_path / "cache")
    assert ((old / "ratings.csv").read_text(), (new / "ratings.csv").read_text()) == ("old", "new")


def test_a_partition_folder_is_part_of_its_table(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "own.zip", {"views/year=2026/part.parquet": "x"})
    assert resolve_dataset(str(archive), tmp_path / "cache").name == "views"


def test_a_truncated_zip_is_an_error_and_leaves_no_asset(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "own.zip", {"ratings.csv": "1" * 5000})
    archive.write_bytes(archive.read_bytes()[:3000])
    with pytest.raises(AssetError, match=r"own\.zip: truncated or corrupt"):
        resolve_dataset(str(archive), tmp_path / "cache")
    assert list((tmp_path / "cache").rglob(MARKER)) == []


def test_a_folder_in_a_bucket_is_copied_once_and_again_when_it_changes(
    bucket: Any, tmp_path: Path
) -> None:
    put(bucket, "set/ratings.csv", b"1,2,3")
    put(bucket, "set/deep/items.csv", b"4")
    put(bucket, "set-other/no.csv", b"5")
    uri = f"s3://{bucket.name}/set/"
    folder = resolve_dataset(uri, tmp_path / "cache")
    assert (folder / "ratings.csv").read_bytes() == b"1,2,3"
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert found == {"ratings.csv", "deep/items.csv", MARKER}
    (folder / "ratings.csv").write_text("touched")
    assert (resolve_dataset(uri, tmp_path / "cache") / "ratings.csv").read_text() == "touched"
    put(bucket, "set/ratings.csv", b"1,2,3,4")
    assert (resolve_dataset(uri, tmp_path / "cache") / "ratings.csv").read_bytes() == b"1,2,3,4"


def test_a_zip_in_a_bucket_is_copied_and_unpacked(bucket: Any, tmp_path: Path) -> None:
    put(bucket, "a/own.zip", make_zip(tmp_path / "own.zip", {"ml/ratings.dat": "7"}).read_bytes())
    folder = resolve_dataset(f"s3://{bucket.name}/a/own.zip", tmp_path / "cache")
    assert (folder / "ratings.dat").read_text() == "7"
    assert list((tmp_path / "cache").rglob("*.zip")) == []


def test_a_table_in_a_bucket_is_copied(bucket: Any, tmp_path: Path) -> None:
    put(bucket, "views.csv", b"user,item")
    assert (
        resolve_dataset(f"s3://{bucket.name}/views.csv", tmp_path / "cache").read_bytes()
        == b"user,item"
    )


@pytest.mark.parametrize("path", ["nothing", "nothing/here.zip"])
def test_a_bucket_without_the_file_says_so(bucket: Any, tmp_path: Path, path: str) -> None:
    with pytest.raises(AssetError, match=rf"s3://{bucket.name}/{path}: there is no file there"):
        resolve_dataset(f"s3://{bucket.name}/{path}", tmp_path / "cache")


def test_a_server_that_is_down_is_an_error(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    impatient = NetworkSettings(store=StoreSettings(attempts=2))
    with pytest.raises(AssetError, match=r"cannot be read.*AWS_ENDPOINT_URL"):
        resolve_dataset("s3://bucket/set", tmp_path / "cache", impatient)


def test_a_model_comes_from_a_folder_a_zip_or_a_bucket(bucket: Any, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("{}")
    archive = make_zip(tmp_path / "zipped.zip", {"my-model/config.json": "{}"})
    put(bucket, "m/config.json", b"{}")
    put(bucket, "m/model.safetensors", b"w")
    assert resolve_model(str(tmp_path / "model"), tmp_path / "cache") == tmp_path / "model"
    assert resolve_model(str(archive), tmp_path / "cache").name == "my-model"
    folder = resolve_model(f"s3://{bucket.name}/m", tmp_path / "cache")
    assert (folder / "model.safetensors").read_bytes() == b"w"


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/weights.bin").write_text("")
    with pytest.raises(AssetError, match=r"holds no config\.json"):
        resolve_model(str(tmp_path / "model"), tmp_path / "cache")
    with pytest.raises(AssetError, match=r"holds no config\.json"):
        resolve_model(str(tmp_path / "model/weights.bin"), tmp_path / "cache")
