"""A store that fails for a while is outlasted by every client, and one that goes on failing is told; nothing is half done."""

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest

import dualrec.storage as storage
from dualrec.errors import WorkspaceError
from dualrec.publish.manifest import Night
from dualrec.publish.publish import publish
from dualrec.publish.table import open_table
from dualrec.settings import PublishSettings
from dualrec.workspace import Workspace
from tests.fault_proxy import PASSING, FaultProxy, fault_proxy
from tests.readers import through_delta, through_manifest
from tests.staged import NIGHT, publish_run, stage
from tests.test_publish_publish import both, whole

TABLE = pa.table({"user_id": list(range(1000))})
TIMES = 2  # that a fault comes before the store answers again


@pytest.fixture(scope="module")
def proxy(s3_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultProxy]:
    """A proxy in front of the store of this file's tests."""
    with fault_proxy(s3_endpoint, tmp_path_factory.mktemp("proxy") / "proxy.log") as proxy:
        yield proxy


@pytest.fixture
def faulty(proxy: FaultProxy, s3_workspace: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Workspace, FaultProxy]:
    """A workspace that is reached through the proxy, with clients who lose patience soon."""
    monkeypatch.setattr(storage, "ANSWER_S", 2)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    proxy.heal()
    return Workspace(s3_workspace), proxy


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


def _artefact(workspace: Workspace) -> Any:
    with workspace.writing("models/one", {"made_from": "x"}) as folder:
        workspace.write_table(TABLE, f"{folder}/part-0.parquet")
    return workspace.has("models/one"), workspace.read_table("models/one", TABLE.schema).equals(TABLE)


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
    _artefact: (True, True),
    _remove: [],
    _open: None,
}


def _prepare(workspace: Workspace) -> None:
    workspace.write_bytes("there.json", b"there")
    workspace.write_table(TABLE, workspace.path("listed/0.parquet"))


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_passes_is_outlasted(faulty: tuple[Workspace, FaultProxy], fault: str) -> None:
    workspace, proxy = faulty
    _prepare(workspace)
    for work, outcome in WORK.items():
        proxy.meet(fault, times=TIMES)
        assert (work.__name__, work(workspace)) == (work.__name__, outcome)
        assert proxy.met() == [fault] * TIMES


@pytest.mark.parametrize("fault", PASSING)
def test_a_night_is_published_once_whatever_request_fails(faulty: tuple[Workspace, FaultProxy], fault: str) -> None:
    workspace, proxy = faulty
    publish_run(workspace, "A")
    night = stage(workspace, "B")
    proxy.meet(fault, every=5)
    assert publish(workspace, night, 1, PublishSettings()).anew
    assert len(proxy.heal()) > 1
    assert both(workspace) == whole("B")


@pytest.mark.parametrize("fault", ["internal error", "slow down", "dropped", "silence"])
def test_a_fault_that_stays_is_told_with_what_to_do(
    faulty: tuple[Workspace, FaultProxy], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "ATTEMPTS", 2)
    uri, proxy = faulty[0].uri, faulty[1]
    for work in (_read, _list, _write, _put_once, _open):
        proxy.meet(fault)
        with pytest.raises(WorkspaceError, match="the object store did not answer in time; see that it can be reached"):
            work(Workspace(uri))
        assert len(proxy.met()) > 1, f"{work.__name__} asked again"


def test_credentials_that_expire_are_told_and_renewed_ones_go_on(faulty: tuple[Workspace, FaultProxy]) -> None:
    workspace, proxy = faulty
    night = stage(workspace, "A")
    ended = set()
    for after in range(0, 30, 3):
        proxy.meet("expired", after=after)
        ended.add(_told_of_publishing(workspace, night))
        proxy.heal()
        assert all(read(workspace, NIGHT) in ([], whole("A")) for read in (through_delta, through_manifest))
    assert any("look at the AWS credentials" in one for one in ended)
    assert all("look at the AWS credentials" in one for one in ended if one)
    assert not publish(workspace, night, 0, PublishSettings()).anew
    assert both(workspace) == whole("A")


def _told_of_publishing(workspace: Workspace, night: Night) -> str:
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
    assert publish(workspace, night, 1, PublishSettings()).anew
    assert proxy.heal() == ["answer lost"]
    assert both(workspace) == whole("B")
    table = open_table(workspace)
    assert table is not None and table.version() == 2
