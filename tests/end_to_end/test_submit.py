"""The way in for a cluster: `ray job submit` to a head node of the test's own, with its dashboard
and its token."""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import cyclic_ratings, numbered_movies, write_movielens_1m
from tests.processes import free_port, running

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
RAY = str(Path(sys.executable).with_name("ray"))
TINY = [
    f"sequence.{name}=8"
    for name in ("item_dimension", "title_dimension", "genre_dimension", "dense")
]
TINY += [
    "sequence.preset=paper",
    "sequence.hidden=[8,8]",
    "sequence.epochs=1",
    "sequence.resources.cpus_per_worker=0.5",
]


@dataclass(frozen=True)
class Head:
    """A running head node: the address of its dashboard, its folder, and what a shell needs to
    reach it."""

    address: str
    folder: Path
    environment: dict[str, str]

    def submit(
        self, *command: str, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the README's `ray job submit` from the repository's root, and wait for the job's end."""
        line = [
            RAY,
            "job",
            "submit",
            "--address",
            self.address,
            "--working-dir",
            ".",
            "--runtime-env",
        ]
        return subprocess.run(
            [*line, "runtime_env.yaml", "--", *command],
            cwd=ROOT, env=environment or self.environment, timeout=300, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def jobs(self) -> list[dict[str, Any]]:
        """What the dashboard knows of the jobs submitted so far, oldest first."""
        token = Path(self.environment["RAY_AUTH_TOKEN_PATH"]).read_text()
        request = urllib.request.Request(
            f"{self.address}/api/jobs/", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return sorted(json.load(response), key=lambda job: job["start_time"])


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """A head node with two CPUs, started as the README says: by the `ray` of the environment that
    has the packages."""
    folder = Path(
        tempfile.mkdtemp(prefix="dualrec-")
    )  # short: the paths of Ray's sockets have a limit
    token, log = folder / "token", folder / "head.log"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RAY_", "PYTHONPATH"))
    }
    environment = {
        **ours,
        "HOME": str(folder),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
    }
    activated = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    dashboard = free_port()
    line = [
        RAY, "start", "--head", "--block", "--num-cpus=2", "--disable-usage-stats", "--object-store-memory=200000000",
        f"--temp-dir={folder / 'ray'}", "--port=0", f"--dashboard-port={dashboard}", "--dashboard-agent-listen-port=0",
        f"--ray-client-server-port={free_port()}",
    ]  # fmt: skip
    address = f"http://127.0.0.1:{dashboard}"
    try:
        with running(line, environment | activated, f"{address}/api/version", 120, log):
            yield Head(address, folder, environment)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_submitted_jobs_prepare_and_train_on_the_cluster(head: Head) -> None:
    data = write_movielens_1m(
        head.folder / "movielens", cyclic_ratings(60, 12, 9), numbered_movies(12)
    )
    workspace = head.folder / "workspace"
    settings = [
        f"data.source={data}",
        f"workspace={workspace}",
        f"cache={head.folder / 'cache'}",
        "data.shards=2",
    ]
    options = [word for one in (*settings, *TINY) for word in ("--set", one)]

    for job, kinds in (
        ("prepare", ("catalog", "histories")),
        ("train_sequence", ("models/sequence",)),
    ):
        done = head.submit("python", "-m", f"jobs.{job}", *options)
        assert done.returncode == 0, done.stdout
        for kind in kinds:
            assert list(workspace.glob(f"{kind}/*.artifact.json")), (
                f"{job} wrote no {kind}:\n{done.stdout}"
            )
        listed = head.jobs()[-1]
        assert listed["status"] == "SUCCEEDED"
        assert listed["entrypoint"].startswith(f"python -m jobs.{job}")
        assert listed["driver_info"] is not None, "the job ran beside the cluster, not on it"


def test_the_job_carries_the_code_and_little_else(head: Head) -> None:
    done = head.submit("python", "-c", "import dualrec; print('from', dualrec.__file__)")
    assert done.returncode == 0, done.stdout
    (code,) = (
        line.removeprefix("from ") for line in done.stdout.splitlines() if line.startswith("from ")
    )
    package = Path(code).parents[1]
    assert package.is_relative_to(head.folder)
    carried = {
        path.relative_to(package).as_posix(): path.stat().st_size for path in package.rglob("*")
    }
    assert {"jobs/prepare.py", "jobs/configs/local.yaml"} <= carried.keys()
    assert not [
        name
        for name in carried
        if name.split("/")[0] in ("tests", "docs", "workspace", ".venv", ".git")
    ]
    assert sum(carried.values()) < 2_000_000


def test_a_job_whose_workspace_would_be_lost_fails_the_command_and_says_why(head: Head) -> None:
    done = head.submit("python", "-m", "jobs.prepare", "--set", "data.source=ml-1k")
    assert done.returncode != 0
    assert "error: workspace ./workspace" in done.stdout
    assert "s3://" in done.stdout
    assert "Traceback" not in done.stdout
    assert head.jobs()[-1]["status"] == "FAILED"


def test_nobody_without_the_token_submits(head: Head) -> None:
    before = len(head.jobs())
    stranger = {
        name: value for name, value in head.environment.items() if name != "RAY_AUTH_TOKEN_PATH"
    }
    done = head.submit("python", "-c", "1", environment=stranger)
    assert done.returncode != 0
    assert "token" in done.stdout.lower()
    assert len(head.jobs()) == before


SCHEDULED = re.search(r"```bash\n(DATE=.*?)```", (ROOT / "docs/cluster.md").read_text(), re.DOTALL)


def test_a_night_is_submitted_once_and_its_exit_code_reaches_the_scheduler(head: Head) -> None:
    """The lines of docs/cluster.md as they stand, but with a setting that is wrong, and then with a
    command that is right."""
    assert SCHEDULED, "docs/cluster.md shows how a scheduler submits a night"
    script = (
        SCHEDULED.group(1)
        .replace("CONFIG", "jobs/configs/local.yaml")
        .replace("date -u +%F", "echo 2026-11-01")
    )
    environment = {
        **head.environment, "RAY_API_SERVER_ADDRESS": head.address,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip

    def scheduled(text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", text], cwd=ROOT, env=environment, timeout=300, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    failed = scheduled(
        script.replace("--set workspace=", "--set nightly.nothing=1 --set workspace=")
    )
    assert failed.returncode == 2, failed.stdout
    assert "nightly.nothing" in failed.stdout
    assert head.jobs()[-1]["submission_id"] == "dualrec-night-2026-11-01"

    known = len(head.jobs())
    again = scheduled(script)
    assert again.returncode == 2, "the code of the night that was submitted under this name"
    assert "dualrec-night-2026-11-01 already exists" in again.stdout
    assert len(head.jobs()) == known

    mended = scheduled(script.replace("NIGHT=dualrec-night-$DATE", "NIGHT=dualrec-night-$DATE-2").replace(
        "python -m jobs.nightly", "python -m jobs.nightly --help"
    ))  # fmt: skip
    assert mended.returncode == 0, mended.stdout
    assert head.jobs()[-1]["submission_id"] == "dualrec-night-2026-11-01-2"
