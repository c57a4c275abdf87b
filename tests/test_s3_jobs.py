"""The job `benchmark` with its workspace on S3: on the tests' Ray cluster, and in a process with a
cluster of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dualrec.config.settings import load_settings
from dualrec.pipeline.benchmark import benchmark
from dualrec.storage.workspace import Workspace
from tests.conftest import IN_PROCESS, cyclic_ratings, numbered_movies, write_movielens_1m

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

ROOT = Path(__file__).parent.parent


def _settings(workspace: str, folder: Path) -> list[str]:
    source = write_movielens_1m(
        folder / "movielens", cyclic_ratings(60, 40, 14), numbered_movies(40)
    )
    return [
        f"workspace={workspace}",
        f"data.source={source}",
        "data.top_items=0",
        "sequence.preset=paper",
        "sequence.epochs=1",
        "baselines.trials=1",
        "baselines.epochs=1",
        "evaluation.language=false",
        "evaluation.bootstrap_samples=20",
        "evaluation.permutations=19",
    ]


def _assert_measured(uri: str) -> None:
    """The report and all that it rests on are there, each once."""
    workspace = Workspace(uri)
    (report,) = workspace.folders("reports")
    assert workspace.has(f"reports/{report}")
    assert b"<svg" in workspace.read_bytes(f"{workspace.content(f'reports/{report}')}/report.html")
    made = {
        kind: len(workspace.folders(kind)) for kind in ("catalog", "histories", "models/sequence")
    }
    assert made == {"catalog": 1, "histories": 1, "models/sequence": 1}
    for kind in ("catalog", "histories", "models", "reports"):
        assert not workspace.abandoned_attempts(kind), "nothing unfinished stays"
    assert not workspace.files(".staging")


def test_the_whole_comparison_is_made_on_s3(
    s3_workspace: str, ray_cluster: str, tmp_path: Path
) -> None:
    small = [*IN_PROCESS, "data.shards=2", "sequence.hidden=[8,8]", "baselines.systems=[SKNN]"]
    small += ["baselines.resources.cpus=0.5", "evaluation.protocols=[last_five]"]
    benchmark(load_settings(None, [*_settings(s3_workspace, tmp_path), *small]))
    _assert_measured(s3_workspace)


@pytest.mark.long
def test_raw_files_become_a_report_without_a_shared_disk(s3_workspace: str, tmp_path: Path) -> None:
    settings = _settings(s3_workspace, tmp_path)
    settings += ["baselines.systems=[FPMC]", "evaluation.protocols=[last_five, candidates_20]"]
    command = [
        sys.executable,
        "-m",
        "jobs.benchmark",
        *(word for one in settings for word in ("--set", one)),
    ]
    ran = subprocess.run(
        command, cwd=ROOT, env=os.environ, timeout=540, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    _assert_measured(s3_workspace)
