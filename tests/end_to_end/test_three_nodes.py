"""All jobs on a cluster of three nodes that share no disk: what they share is the workspace on S3,
and nothing else.

Every node, and the driver, has a file system of its own at the same path, in a mount namespace of
its own.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from dualrec.storage.workspace import Workspace
from tests.conftest import cyclic_ratings, numbered_movies, write_movielens_1m
from tests.language.tiny_models import write_model
from tests.nightly.site import write_encoder
from tests.processes import free_port, stop

ROOT = Path(__file__).parent.parent.parent
RAY = str(Path(sys.executable).with_name("ray"))
APART = ["unshare", "--mount", "--propagation", "private"]
ANY_PORTS = [
    f"--{name}-port=0"
    for name in ("dashboard-agent-listen", "dashboard-agent-grpc", "runtime-env-agent")
]
NIGHT = "2026-11-03"

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(
        not shutil.which("unshare")
        or subprocess.run([*APART, "true"], check=False, capture_output=True).returncode != 0,
        reason="mount namespaces are not allowed here",
    ),
]


@contextmanager
def _node(own: Path, log: Path, *options: str) -> Iterator[None]:
    """A Ray node that finds an empty folder at `own`; it ends with the block."""
    start = f'mount -t tmpfs none "{own}" && exec "{RAY}" start --block {" ".join([*ANY_PORTS, *options])}'
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*APART, "sh", "-c", start],
            cwd=ROOT,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
        try:
            yield
        finally:
            stop(process)


@contextmanager
def _cluster(own: Path, logs: Path) -> Iterator[str]:
    """A head without CPUs and two workers; gives their address."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    with ExitStack() as nodes:
        head = [
            "--head",
            f"--port={port}",
            "--num-cpus=0",
            "--include-dashboard=false",
            "--node-ip-address=127.0.0.1",
        ]
        nodes.enter_context(_node(own, logs / "head.log", *head))
        _wait_for(address, nodes=1)
        for number in range(2):
            nodes.enter_context(
                _node(own, logs / f"worker-{number}.log", f"--address={address}", "--num-cpus=4")
            )
            _wait_for(address, nodes=2 + number)
        yield address


def _wait_for(address: str, nodes: int) -> None:
    """Until so many nodes have joined; a minute at most."""
    look = f"""
import ray, time
until = time.monotonic() + 60
ray.init(address={address!r}, log_to_driver=False)
while sum(node["Alive"] for node in ray.nodes()) < {nodes}:
    assert time.monotonic() < until, ray.nodes()
    time.sleep(0.2)
"""
    host, port = address.split(":")
    for _ in range(300):
        with socket.socket() as connection:
            if connection.connect_ex((host, int(port))) == 0:
                break
        time.sleep(0.2)
    subprocess.run([sys.executable, "-c", look], check=True, timeout=120, capture_output=True)


def _upload(folder: Path, uri: str) -> str:
    place = Workspace(uri)
    for file in folder.rglob("*"):
        if file.is_file():
            place.write_bytes(file.relative_to(folder).as_posix(), file.read_bytes())
    return uri


@pytest.mark.parametrize(
    ("jobs", "tuned", "measured"),
    [
        (["run"], "published", False),
        pytest.param(["run", "nightly"], "cuts", True, marks=pytest.mark.long),
        pytest.param(["run"], None, False, marks=pytest.mark.long),
    ],
    ids=["fine-tuned", "fine-tuned on cuts, its answers measured too, and a night", "as it comes"],
)
def test_all_jobs_run_on_nodes_that_share_no_disk(
    s3_workspace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    jobs: list[str],
    tuned: str | None,
    measured: bool,
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    source = write_movielens_1m(own / "movielens", cyclic_ratings(80, 40, 14), numbered_movies(40))
    settings = [
        f"workspace={s3_workspace}", f"cache={own / 'cache'}", f"data.source={source}", "data.top_items=0", "data.shards=2",
        f"language.model={_upload(write_model(tmp_path / 'model', 'qwen2'), f'{s3_workspace}-models/language')}",
        f"rerank.model={_upload(write_encoder(tmp_path / 'encoder'), f'{s3_workspace}-models/encoder')}",
        "sequence.preset=paper", "sequence.epochs=1", "finetune.epochs=1", "finetune.max_examples=8", "finetune.batch_size=4",
        "finetune.validation_examples=4", "language.engine.enforce_eager=true", "language.engine.threads=1", "language.max_prompt_tokens=640",
        "language.decoding=free", "finetune.max_tokens=900", "ranking.calibration_users=4",
        f"finetune.examples={tuned or 'cuts'}", "baselines.systems=[SKNN]", "baselines.trials=1", "evaluation.max_users=4", "evaluation.protocols=[last_five]",
        "evaluation.bootstrap_samples=20", "evaluation.permutations=19", f"evaluation.language={measured}", f"language.tuned={'current' if tuned else 'null'}",
        f"recommend.run_date={NIGHT}",
    ]  # fmt: skip
    words = [word for one in settings for word in ("--set", one)]
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # of its own nodes, on this machine only
    with _cluster(own, tmp_path) as address:
        for job in jobs:
            ran = subprocess.run(
                [sys.executable, "-m", f"jobs.{job}", *words],
                cwd=ROOT, env={**os.environ, "RAY_ADDRESS": address}, timeout=900, capture_output=True, text=True,
            )  # fmt: skip
            assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]

    workspace = Workspace(s3_workspace)
    kinds = [
        "catalog",
        "histories",
        "models/sequence",
        "models/baselines",
        "reports",
        "recommendations",
    ]
    assert all(workspace.files(kind) for kind in (*kinds, *(["models/language"] if tuned else [])))
    assert not list((own / "cache").glob("*/*.safetensors")), "the driver's machine holds no model"
    assert not workspace.files(".staging"), "nothing half-made stays"
