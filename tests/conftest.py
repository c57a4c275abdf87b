"""Data by construction, and the one local Ray cluster that the tests share."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dualrec.cluster.session import ray_session
from dualrec.config.settings import ClusterSettings, Settings, load_settings
from dualrec.storage.schemas import CATALOG, HISTORIES
from tests.object_store import KEYS, s3_server

# As urgent as the servers and drivers beside them: Ray's niceness of 15 lets any other process
# starve the workers.
os.environ.setdefault("RAY_worker_niceness", "0")
# How long Ray Train may take to notice that its workers are done: most trainings here last less
# than its two seconds.
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")

# Trains in this process, as the local profile does; what is about workers says so.
IN_PROCESS = ("sequence.resources.workers=0", "finetune.resources.workers=0")

MOVIES = {
    1: ("Toy Story (1995)", "Animation|Children's|Comedy"),
    2: ("Bug's Life, A (1998)", "Animation|Children's|Comedy"),
    3: ("Heat (1995)", "Action|Crime|Thriller"),
    4: ("Seven (Se7en) (1995)", "Crime|Thriller"),
    5: ("Sabrina (1954)", "Comedy|Romance"),
    6: ("Sabrina (1995)", "Comedy|Romance"),
}


def write_movielens_1m(
    folder: Path, ratings: list[tuple[int, int, int, int]], movies: dict[int, tuple[str, str]]
) -> Path:
    """A data set in the `::` shape of MovieLens 1M."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{user}::{item}::{rating}::{time}" for user, item, rating, time in ratings]
    (folder / "ratings.dat").write_text("".join(line + "\n" for line in lines), encoding="latin-1")
    lines = [f"{item}::{title}::{genres}" for item, (title, genres) in movies.items()]
    (folder / "movies.dat").write_text("".join(line + "\n" for line in lines), encoding="latin-1")
    return folder


def cyclic_ratings(users: int, items: int, length: int) -> list[tuple[int, int, int, int]]:
    """Every user watches items in a fixed cycle from its own start: the next can be learned."""
    return [
        (user, (user * 7 + step) % items + 1, 5, 1000 + step)
        for user in range(1, users + 1)
        for step in range(length)
    ]


def numbered_movies(items: int) -> dict[int, tuple[str, str]]:
    """Movies with made-up titles of distinct words."""
    syllables = ["ba", "do", "ki", "lu", "me", "no", "ra", "si", "tu", "ve"]
    name = lambda n: "".join(syllables[int(digit)] for digit in f"{n:03d}").capitalize()  # noqa: E731
    return {
        item: (f"{name(item)} ({1950 + item})", ["Drama", "Comedy", "War"][item % 3])
        for item in range(1, items + 1)
    }


@pytest.fixture
def movielens(tmp_path: Path) -> Path:
    """Sixty users on twelve movies, in the shape of MovieLens 1M."""
    return write_movielens_1m(
        tmp_path / "movielens", cyclic_ratings(60, 12, 9), numbered_movies(12)
    )


@pytest.fixture
def catalog() -> pa.Table:
    """The six movies above; popularity falls with the id."""
    return pa.Table.from_pylist(
        [
            {
                "item_id": item,
                "title": title,
                "year": int(title[-5:-1]),
                "genres": genres.split("|"),
                "popularity": 10 - item,
            }
            for item, (title, genres) in MOVIES.items()
        ],
        schema=CATALOG,
    )


def histories_table(item_ids: dict[int, list[int]], split: str = "train") -> pa.Table:
    """Histories with made-up times."""
    return pa.Table.from_pylist(
        [
            {
                "user_id": user,
                "item_ids": items,
                "timestamps": list(range(len(items))),
                "ratings": [5.0] * len(items),
                "split": split,
            }
            for user, items in item_ids.items()
        ],
        schema=HISTORIES,
    )


@pytest.fixture
def settings_for(tmp_path: Path):
    """Settings with a workspace and a cache of the test's own, small actors, and training in this
    process."""

    def make(*overrides: str) -> Settings:
        own = [
            f"workspace={tmp_path / 'workspace'}",
            f"cache={tmp_path / 'cache'}",
            "data.shards=2",
            *IN_PROCESS,
        ]
        return load_settings(None, [*own, *overrides])

    return make


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """One local cluster for all tests that need Ray; it claims four CPUs so that actors never wait
    for ever.

    Gives its address, by which drivers in processes of their own join it. Its workers hold the keys
    of the tests' store.
    """
    import ray

    with pytest.MonkeyPatch.context() as start:
        for name, value in _store_keys().items():
            start.setenv(name, value)
        context = ray.init(
            address="local", num_cpus=4, log_to_driver=False, include_dashboard=False
        )
    with ray_session(ClusterSettings()):
        yield context.address_info["gcs_address"]
    ray.shutdown()


def _store_keys() -> dict[str, str]:
    """The keys of the tests' S3 server, or of the store that DUALREC_TEST_S3 names."""
    return {name: os.environ[name] for name in KEYS} if os.environ.get("DUALREC_TEST_S3") else KEYS


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ray is not to be started, nor a cluster of other tests to be used: the test fails where it is
    tried."""
    import ray

    tried: list[str] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: tried.append("ray.init"))
    yield
    assert not tried, "Ray was started"


@pytest.fixture
def random() -> np.random.Generator:
    """A seeded generator."""
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3 server in a process of its own, for the tests of one file; or the store that
    DUALREC_TEST_S3 names."""
    if named := os.environ.get("DUALREC_TEST_S3"):
        yield named
        return
    with s3_server(tmp_path_factory.mktemp("s3") / "server.log") as url:
        yield url


@pytest.fixture
def s3_workspace(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A workspace in a fresh bucket of that server; the environment leads to it, with the keys of a
    store that was named."""
    import boto3

    keys = _store_keys()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    environment = {
        "AWS_ENDPOINT_URL": s3_endpoint,
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in (environment | keys).items():
        monkeypatch.setenv(name, value)
    bucket = f"bucket-{uuid.uuid4().hex[:12]}"
    boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1").create_bucket(
        Bucket=bucket
    )
    return f"s3://{bucket}/nightly"


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A workspace's URI: each test that asks for it runs on a local folder and on S3."""
    return (
        str(tmp_path / "workspace")
        if request.param == "local"
        else request.getfixturevalue("s3_workspace")
    )
