"""Workers that die while a night is scored: the job goes on by itself, and every user is published
once."""

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from dualrec.nightly.nightly import nightly
from dualrec.publishing.manifest import current_manifest
from dualrec.storage.workspace import Workspace
from tests.killing import killed_once
from tests.language.tiny_models import write_model
from tests.nightly.site import ROOT, SECOND, SLOW, Site, assert_published_once, scored_files

pytestmark = pytest.mark.ray
RUN_DATE = date.fromisoformat(SECOND)


def test_killed_workers_are_replaced(site: Site, ray_cluster: str) -> None:
    """In one night, an actor of the sequence model as soon as it is there, and one that reranks in
    the midst of its work.

    The former is done with so few users before the first of them is scored.
    """
    site.watch(*site.lengths)
    attempts = Path(site.workspace, f"nightly/run_date={SECOND}/attempts")
    first = killed_once(
        lambda: any(attempts.glob("*.takes-over.json")), "MapWorker(MapBatches(_SequenceActor"
    )
    second = killed_once(
        lambda: scored_files(site.workspace) > 0, "MapWorker(MapBatches(_TraceActor"
    )
    with first, second:
        nightly(site.settings_of(SECOND, SLOW))
    assert_published_once(site, SECOND)


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_a_killed_engine_is_replaced(site: Site, ray_cluster: str, tmp_path: Path) -> None:
    model = write_model(tmp_path / "tiny", "qwen2")
    site.watch(*site.lengths)
    serving = [
        f"language.model={model}",
        "language.engine.enforce_eager=true",
        "language.engine.max_sequences=1",
        "language.engine.batch_size=1",
        "language.engine.concurrent_batches=1",
        "language.dtype=float32",
        "nightly.gates.min_titles_resolved=null",
        "nightly.gates.max_metric_drop=null",
        "ranking.preset=fused",
    ]
    with killed_once(lambda: scored_files(site.workspace) > 0, "VLLM::EngineCore"):
        nightly(site.settings_of(SECOND, *serving))
    assert_published_once(site, SECOND)
    manifest = current_manifest(Workspace(site.workspace), RUN_DATE)
    assert manifest is not None
    assert manifest.metrics["errors"] == 0
    assert manifest.cost["engine_seconds"] > 0


@pytest.mark.timeout(600)
def test_a_lost_node_is_done_without(site: Site, tmp_path: Path) -> None:
    site.watch(*site.lengths)
    command = [sys.executable, "-m", "tests.nightly.three_nodes", site.workspace, *site.settings]
    command += [f"recommend.run_date={SECOND}", SLOW]
    done = subprocess.run(command, cwd=ROOT, timeout=500, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    lost = json.loads(done.stdout.splitlines()[-1])
    assert lost["actors"], "the node that was lost held actors of the job"
    assert lost["meters_with_the_driver"] == [True], (
        "what all senders ask is on no node that may be lost"
    )
    assert_published_once(site, SECOND)
