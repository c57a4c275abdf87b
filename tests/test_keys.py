"""Jobs with planted keys: they reach nothing that is written, logged or shown. Their traces name
users by hashes."""

import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dualrec.storage.schemas import RECOMMENDATIONS, TRACES
from dualrec.storage.workspace import Workspace
from tests.conftest import cyclic_ratings, numbered_movies, write_movielens_1m
from tests.fake_endpoint import fake_endpoint
from tests.object_store import KEYS

ROOT = Path(__file__).parent.parent
PLANTED = {
    **KEYS,
    "AWS_SESSION_TOKEN": "session-token-of-the-tests",
    "AN_ENDPOINT_KEY": "sk-endpoint-key-of-the-tests",
    "A_SALT": "salt-of-the-tests-0123456789",
}


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """Where a Ray session of the test's own keeps its logs: a short path, since sockets lie below
    it."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.end_to_end
@pytest.mark.timeout(900)
def test_no_key_is_in_anything_that_a_night_writes_or_says(
    s3_workspace: str, ray_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    source = write_movielens_1m(
        tmp_path / "movielens", cyclic_ratings(60, 12, 9), numbered_movies(12)
    )
    faults: list[int | str] = [400, 500, "rubbish", 429, "empty", 403]
    with fake_endpoint(*faults, key=PLANTED["AN_ENDPOINT_KEY"]) as server:
        settings = [
            f"workspace={s3_workspace}",
            f"data.source={source}",
            "sequence.preset=paper",
            "sequence.hidden=[8,8]",
            "sequence.epochs=1",
            "ranking.preset=paper",
            "language.model=deepseek-v3",
            f"language.endpoint.url={server.url}",
            "language.endpoint.api_key_env=AN_ENDPOINT_KEY",
            "recommend.trace_salt_env=A_SALT",
            "evaluation.language=false",
            "evaluation.protocols=[last_five]",
            "evaluation.bootstrap_samples=20",
            "evaluation.permutations=19",
        ]
        command = [
            sys.executable,
            "-m",
            "tests.run_and_night",
            *(word for one in settings for word in ("--set", one)),
        ]
        environment = {**os.environ, "RAY_TMPDIR": str(ray_folder)}
        ran = subprocess.run(
            command, cwd=ROOT, env=environment, timeout=800, capture_output=True, text=True
        )
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    workspace = Workspace(s3_workspace)

    said = {
        f"the job's output, {name}": text
        for name, text in (("out", ran.stdout), ("err", ran.stderr))
    }
    logs = {
        str(path): path.read_text(errors="replace")
        for path in ray_folder.rglob("*")
        if path.is_file()
    }
    written = {
        info.path: _text(workspace.read_bytes(workspace.name_of(info.path)))
        for info in workspace.files("")
    }
    for part in (
        "/settings.yaml",
        "/plans/",
        ".alive",
        ".takes-over.json",
        "/reports/nightly/",
        "_manifests",
        "_delta_log",
    ):
        assert any(part in name for name in written), f"nothing was written to {part}"
    assert any("worker-" in name for name in logs)
    for place, text in (said | logs | written).items():
        for name, value in PLANTED.items():
            assert value not in text, f"{name} is in {place}"

    failed = []
    for job in ("run_id=", "night-"):
        traces, lists = _written_by(workspace, job)
        failed += [row["error"] for row in traces if row["error"]]
        users = {row["user_id"] for row in lists}
        assert users <= set(range(1, 61)), "readers of the lists find their users"
        assert len({row["user_id"] for row in traces}) == len(traces) == len(users)
        assert not users & {row["user_id"] for row in traces}
    assert sum("[key]" in str(error) for error in failed) == 2, (
        "400 and 403 came back as their rows' errors"
    )


def _text(content: bytes) -> str:
    """What a reader of the file sees: Parquet files are compressed."""
    if content.startswith(b"PAR1"):
        table = pq.read_table(io.BytesIO(content))
        return f"{table.to_pylist()} {table.schema.metadata}"
    return content.decode(errors="replace")


def _written_by(
    workspace: Workspace, job: str
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """The traces and the lists of a job, by how its folders are named."""
    found = []
    for kind, schema in (("traces", TRACES), ("recommendations", RECOMMENDATIONS)):
        names = [workspace.name_of(path) for path in workspace.parquet_files(kind)]
        (folder,) = {name.rpartition("/")[0] for name in names if f"/{job}" in name}
        found.append(workspace.read_table(folder, schema).to_pylist())
    return found[0], found[1]
