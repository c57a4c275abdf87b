"""A store that fails for a while is outlasted by every client, and one that goes on failing is
told; nothing is half done."""

import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest

from dualrec.config.settings import PublishSettings, StoreSettings
from dualrec.errors import WorkspaceError
from dualrec.publishing.manifest import Snapshot
from dualrec.publishing.publish import publish
from dualrec.publishing.table import open_table
from dualrec.storage.workspace import Workspace
from tests.fault_proxy import PASSING, FaultProxy, fault_proxy
from tests.publishing.test_publish import both, whole
from tests.readers import through_delta, through_manifest
from tests.staged import NIGHT, publish_run, stage

TABLE = pa.table({"user_id": list(range(1000))})
TIMES = 2  # that a fault comes before the store answers again
# pyarrow counts whole seconds of silence, from one on.
IMPATIENT = StoreSettings(connect_timeout_s=1, read_timeout_s=0.5, table_pauses_s=(0.1, 0.4))
STORES = Callable[[], tuple[Workspace, FaultProxy]]


@pytest.fixture(scope="module")
def proxy(s3_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultProxy]:
    """A proxy in front of the store of this file's tests."""
    with fault_proxy(s3_endpoint, tmp_path_factory.mktemp("proxy") / "proxy.log") as proxy:
        yield proxy


@pytest.fixture
def stores(
    proxy: FaultProxy, s3_workspace: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> STORES:
    """Makes workspaces, each in a bucket and with faults of its own, whose clients lose patience
    soon."""
    import boto3

    buckets = boto3.client("s3", endpoint_url=s3_endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)

    def store() -> tuple[Workspace, FaultProxy]:
        bucket = f"bucket-{uuid.uuid4().hex[:12]}"
        buckets.create_bucket(Bucket=bucket)
        return Workspace(f"s3://{bucket}/nightly", IMPATIENT), proxy.of_bucket(bucket)

    return store


@pytest.fixture
def faulty(stores: STORES) -> tuple[Workspace, FaultProxy]:
    """One such workspace."""
    return stores()


def _all_at_once(check: Callable[..., None], *cases: Iterable[Any]) -> None:
    """Check many cases in a few threads, since they mostly wait: more would keep each other
    waiting. Raises what fails first."""
    columns = [list(column) for column in cases]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(check, *columns))


def _read(workspace: Workspace) -> Any:
    return workspace.read_bytes("there.json")


def _look(workspace: Workspace) -> Any:
    return workspace.has_file("there.json"), workspace.has_file("nowhere.json")


def _list(workspace: Workspace) -> Any:
    return [info.base_name for info in workspace.files("listed")]


def _read_table(workspace: Workspace) -> Any:
    return workspace.read_table("listed", TABLE.schema).equals(TABLE)


def _write(workspace: Workspace) -> Any:
    workspace.write_bytes("written.json", b"new")
    return workspace.read_bytes("written.json")


def _put_once(workspace: Workspace) -> Any:
    return workspace.put_once("once.json", b"mine"), workspace.read_bytes("once.json")


def _artifact(workspace: Workspace) -> Any:
    with workspace.writing("models/one", {"made_from": "x"}) as folder:
        workspace.write_table(TABLE, f"{folder}/part-0.parquet")
    return workspace.has("models/one"), workspace.read_table("models/one", TABLE.schema).equals(
        TABLE
    )


def _remove(workspace: Workspace) -> Any:
    workspace.remove("listed")
    return workspace.files("listed")


def _open(workspace: Workspace) -> Any:
    return open_table(workspace)


WORK: dict[Callable[[Workspace], Any], Any] = {
    _read: b"there",
    _look: (True, False),
    _list: ["0.parquet"],
    _read_table: True,
    _write: b"new",
    _put_once: (True, b"mine"),
    _artifact: (True, True),
    _remove: [],
    _open: None,
}


def _prepare(workspace: Workspace) -> None:
    workspace.write_bytes("there.json", b"there")
    workspace.write_table(TABLE, workspace.path("listed/0.parquet"))


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_passes_is_outlasted(stores: STORES, fault: str) -> None:
    def check(store: tuple[Workspace, FaultProxy], work: Callable[[Workspace], Any]) -> None:
        workspace, proxy = store
        _prepare(workspace)
        proxy.meet(fault, times=TIMES)
        assert (work.__name__, work(workspace)) == (work.__name__, WORK[work])
        assert (work.__name__, proxy.met()) == (work.__name__, [fault] * TIMES)

    _all_at_once(check, [stores() for _ in WORK], WORK)


def test_a_night_is_published_once_whatever_request_fails(stores: STORES) -> None:
    def check(store: tuple[Workspace, FaultProxy], fault: str) -> None:
        workspace, proxy = store
        publish_run(workspace, "A")
        night = stage(workspace, "B")
        proxy.meet(fault, every=5)
        assert publish(workspace, night, 1, PublishSettings()).is_new, fault
        assert len(proxy.heal()) > 1, fault
        assert both(workspace) == whole("B"), fault

    _all_at_once(check, [stores() for _ in PASSING], PASSING)


def test_a_fault_that_stays_is_told_with_what_to_do(stores: STORES) -> None:
    def check(
        store: tuple[Workspace, FaultProxy], fault: str, work: Callable[[Workspace], Any]
    ) -> None:
        workspace = Workspace(store[0].uri, IMPATIENT.model_copy(update={"attempts": 2}))
        store[1].meet(fault)
        with pytest.raises(
            WorkspaceError,
            match="the object store did not answer in time; see that it can be reached",
        ):
            work(workspace)
        assert len(store[1].met()) > 1, f"{work.__name__} asked again after: {fault}"

    faults, works = (
        ["internal error", "slow down", "dropped", "silence"],
        [_read, _list, _write, _put_once, _open],
    )
    cases = [(fault, work) for fault in faults for work in works]
    _all_at_once(check, [stores() for _ in cases], *zip(*cases, strict=True))


def test_credentials_that_expire_are_told_and_renewed_ones_go_on(
    faulty: tuple[Workspace, FaultProxy],
) -> None:
    workspace, proxy = faulty
    night = stage(workspace, "A")
    ended = set()
    for after in range(0, 30, 3):
        proxy.meet("expired", after=after)
        ended.add(_told_of_publishing(workspace, night))
        proxy.heal()
        assert all(
            read(workspace, NIGHT) in ([], whole("A")) for read in (through_delta, through_manifest)
        )
    assert any("look at the AWS credentials" in one for one in ended)
    assert all("look at the AWS credentials" in one for one in ended if one)
    assert not publish(workspace, night, 0, PublishSettings()).is_new
    assert both(workspace) == whole("A")


def _told_of_publishing(workspace: Workspace, night: Snapshot) -> str:
    try:
        publish(workspace, night, 0, PublishSettings())
    except WorkspaceError as error:
        return str(error)
    return ""


def test_a_commit_whose_answer_is_lost_is_made_once(faulty: tuple[Workspace, FaultProxy]) -> None:
    workspace, proxy = faulty
    publish_run(workspace, "A")
    night = stage(workspace, "B")
    proxy.meet("answer lost", times=1, matching="PUT .*_delta_log/")
    assert publish(workspace, night, 1, PublishSettings()).is_new
    assert proxy.heal() == ["answer lost"]
    assert both(workspace) == whole("B")
    table = open_table(workspace)
    assert table is not None and table.version() == 2
