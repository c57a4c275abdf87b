"""All jobs with the real small models on MovieLens 100K: what `make run` does, with less training
and fewer users."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from dualrec.config.settings import load_settings
from dualrec.data.prepare import prepare
from dualrec.ranking.recommend import recommend
from dualrec.sequence.train import train_sequence
from dualrec.storage.schemas import HISTORIES, RECOMMENDATIONS, TRACES
from dualrec.storage.workspace import Workspace

ROOT = Path(__file__).parent.parent.parent
LOCAL = str(ROOT / "jobs/configs/local.yaml")
OURS = {
    "sequence model alone",
    "language model alone",
    "paper",
    "fused",
    "paper, reranked against the answers (leak)",
}


@pytest.mark.end_to_end
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.timeout(2400)
def test_raw_files_become_lists_for_every_user(tmp_path: Path) -> None:
    settings = load_settings(LOCAL, _small(tmp_path, tuned="null"))
    for job in (prepare, train_sequence, recommend):
        job(settings)
    _assert_lists(tmp_path)


@pytest.mark.end_to_end
@pytest.mark.long
@pytest.mark.timeout(2400)
def test_raw_files_become_a_fine_tuned_model_lists_and_metrics(tmp_path: Path) -> None:
    options = [word for one in _small(tmp_path, tuned="current") for word in ("--set", one)]
    command = [sys.executable, "-m", "jobs.run", "--config", LOCAL, *options]
    subprocess.run(command, cwd=ROOT, check=True, timeout=2300)
    _assert_lists(tmp_path)
    (model,) = (tmp_path / "models/language").glob("*/attempt-*")
    assert {"adapter", "merged", "metrics.json", "curves.png"} <= {
        path.name for path in model.iterdir()
    }
    (report,) = (tmp_path / "reports").glob("*/attempt-*")
    metrics = json.loads((report / "metrics.json").read_text())
    assert (report / "report.html").read_text().count("<svg") >= 3
    for protocol in ("last_five", "candidates_20"):
        models = metrics["protocols"][protocol]["models"]
        assert set(models) == {"Random", "MostPop", "SKNN"} | OURS
        for name in ("HR@1", "HR@5", "HR@10", "NDCG@10"):
            value = models["sequence model alone"][name]
            assert 0 <= value["low"] <= value["value"] <= value["high"] <= 1


def _small(workspace: Path, tuned: str) -> list[str]:
    """Less training and fewer users than the local profile has."""
    return [
        f"workspace={workspace}", f"language.tuned={tuned}", "sequence.preset=paper", "sequence.epochs=1", "recommend.max_users=24",
        "evaluation.max_users=8", "ranking.calibration_users=8", "finetune.max_examples=16", "finetune.validation_examples=4",
        "baselines.systems=[SKNN]", "baselines.trials=1", "evaluation.protocols=[last_five, candidates_20]", "evaluation.variants=[]",
    ]  # fmt: skip


def _assert_lists(folder: Path) -> None:
    """About 24 test users have lists of unwatched movies, and traces of titles that were written
    from the shortlist."""
    workspace = Workspace(str(folder))
    (lists_folder,) = (folder / "recommendations").glob("run_date=*/run_id=*/attempt-*")
    (traces_folder,) = (folder / "traces").glob("run_date=*/run_id=*/attempt-*")
    lists = workspace.read_table(str(lists_folder.relative_to(folder)), RECOMMENDATIONS)
    traces = workspace.read_table(str(traces_folder.relative_to(folder)), TRACES)
    (histories_folder,) = (folder / "histories").glob("*/attempt-*")
    users = workspace.read_table(f"{histories_folder.relative_to(folder)}/split=test", HISTORIES)
    watched = dict(
        zip(*(users.column(name).to_pylist() for name in ("user_id", "item_ids")), strict=True)
    )

    assert 12 < len(traces) < 36, "a sample of about 24 users"
    assert set(traces.column("user_id").to_pylist()) <= set(watched)
    assert set(lists.column("user_id").to_pylist()) == set(traces.column("user_id").to_pylist())
    assert all(
        row["item_id"] not in watched[row["user_id"]]
        for row in lists.select(["user_id", "item_id"]).to_pylist()
    )
    assert pc.all(pc.less_equal(lists.column("rank"), 10)).as_py()
    assert traces.column("error").null_count == len(traces)
    assert pc.mean(traces.column("generated_tokens")).as_py() <= 45
    for row in traces.select(["item_ids", "titles", "title_item_ids", "title_matches"]).to_pylist():
        assert set(row["title_matches"]) == {"exact"}, row["titles"]
        assert len(set(row["title_item_ids"])) == len(row["titles"]) == 3
        assert not set(row["title_item_ids"]) & set(row["item_ids"])
    assert pq.read_schema(next(lists_folder.glob("*.parquet"))).names == RECOMMENDATIONS.names
