"""Nights on a store that fails: for a while, by refusing credentials, and by being full. The same
command ends well."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dualrec.errors import WorkspaceError
from dualrec.nightly.nightly import nightly
from tests.fault_proxy import PASSING, FaultProxy, fault_proxy
from tests.nightly.site import ROOT, SECOND, SLOW, Site, assert_published_once
from tests.processes import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
IMPATIENT = ("network.store.read_timeout_s=1", "network.store.table_pauses_s=[0.1, 0.4]")
PAGE = 4096  # bytes: what a file takes on a disk in memory is a multiple of it
ROOM = 20  # pages: the night begins, and cannot be written whole


@pytest.fixture
def proxy(s3_endpoint: str, tmp_path: Path) -> Iterator[FaultProxy]:
    """A proxy in front of the store."""
    with fault_proxy(s3_endpoint, tmp_path / "proxy.log") as proxy:
        yield proxy


@pytest.fixture
def faulty_site(
    published_site: Site, s3_workspace: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> Site:
    """A site with a published night on the store behind the proxy; everybody watched one more movie
    since."""
    site = published_site.copied(s3_workspace)
    site.watch(*site.lengths)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    return site


def test_a_store_that_fails_for_a_while_does_not_stop_a_night(
    faulty_site: Site, proxy: FaultProxy
) -> None:
    proxy.meet(*PASSING, every=100)
    nightly(faulty_site.settings_of(SECOND, *IMPATIENT))
    assert set(proxy.heal()) == set(PASSING)
    assert_published_once(faulty_site, SECOND)
    assert set(faulty_site.asked().values()) == {1}, "nobody was scored twice"


@pytest.mark.chaos
def test_credentials_that_expire_in_a_night_are_told_and_with_new_ones_it_goes_on(
    faulty_site: Site, proxy: FaultProxy
) -> None:
    def expire() -> None:
        wait_until(lambda: len(faulty_site.endpoint.seen) >= len(faulty_site.lengths) // 2)
        proxy.meet("expired")

    thread = threading.Thread(target=expire)
    thread.start()
    with pytest.raises(WorkspaceError, match="look at the AWS credentials"):
        nightly(faulty_site.settings_of(SECOND, SLOW))
    thread.join()
    assert proxy.heal()
    first = faulty_site.asked()
    nightly(faulty_site.settings_of(SECOND))
    assert_published_once(faulty_site, SECOND)
    assert len(first | faulty_site.asked()) == len(faulty_site.lengths)


# A disk in memory with little room; then the same disk with much, and the same command.
FULL_DISK = """
set -e
size=$1 kept=$2 workspace=$3 end=$4; shift 4
mount -t tmpfs -o size=$size tmpfs "$workspace"
cp -r "$kept/." "$workspace"
set +e
"$@"; first=$?
mount -o remount,size=1g "$workspace"
"$@" > "$end/again.log" 2>&1; echo "exited with $first, $?"
cp -r "$workspace/." "$end"
"""


@pytest.mark.chaos
def test_a_full_disk_is_told_and_with_room_the_night_goes_on(site: Site, tmp_path: Path) -> None:
    small, end = tmp_path / "small", tmp_path / "end"
    small.mkdir()
    end.mkdir()
    on_small = site.copied(str(small))
    on_small.watch(*site.lengths)
    pages = sum(
        -(-file.stat().st_size // PAGE)
        for file in Path(site.workspace).rglob("*")
        if file.is_file()
    )
    command = [sys.executable, "-m", "jobs.nightly", *on_small.options(SECOND, own_cluster=True)]
    places = [str((pages + ROOM) * PAGE), site.workspace, str(small), str(end)]
    done = subprocess.run(
        [
            "unshare",
            "--user",
            "--mount",
            "--map-root-user",
            "sh",
            "-c",
            FULL_DISK,
            "sh",
            *places,
            *command,
        ],
        cwd=ROOT,
        timeout=500,
        capture_output=True,
        text=True,
    )
    assert "exited with 1, 0" in done.stdout, done.stdout + done.stderr
    assert "make room on the disk, then run the job again" in done.stderr
    on_small.workspace = str(end)
    assert_published_once(on_small, SECOND)
