"""The jobs with their workspace on S3, as a process of their own with a Ray cluster of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dualrec.workspace import Workspace
from tests.conftest import cyclic_ratings, numbered_movies, write_movielens_1m

ROOT = Path(__file__).parent.parent


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.timeout(600)
def test_raw_files_become_a_report_without_a_shared_disk(s3_workspace: str, tmp_path: Path) -> None:
    source = write_movielens_1m(tmp_path / "movielens", cyclic_ratings(60, 40, 14), numbered_movies(40))
    settings = [
        f"workspace={s3_workspace}", f"data.source={source}", "data.top_items=0", "sequence.preset=paper", "sequence.epochs=1",
        "baselines.systems=[FPMC]", "baselines.trials=1", "baselines.epochs=1", "evaluation.language=false",
        "evaluation.protocols=[last_five, candidates_20]", "evaluation.bootstrap_samples=20", "evaluation.permutations=19",
    ]  # fmt: skip
    command = [sys.executable, "-m", "jobs.benchmark", *(word for one in settings for word in ("--set", one))]
    ran = subprocess.run(command, cwd=ROOT, env=os.environ, timeout=540, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]

    workspace = Workspace(s3_workspace)
    (report,) = workspace.folders("reports")
    assert workspace.has(f"reports/{report}")
    assert b"<svg" in workspace.read_bytes(f"reports/{report}/report.html")
    made = {kind: len(workspace.folders(kind)) for kind in ("catalogue", "histories", "models/sequence")}
    assert made == {"catalogue": 1, "histories": 1, "models/sequence": 1}
    assert not workspace.files(".staging"), "nothing half-made stays"
