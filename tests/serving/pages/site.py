"""Two published snapshots with one user's lists, and a third run that failed a gate."""

from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa

from dualrec.config.settings import PriceSettings, PublishSettings
from dualrec.nightly.gates import Gate
from dualrec.nightly.plan import Plan
from dualrec.nightly.run_report import snapshot_metrics, summarize_cost, write_report
from dualrec.nightly.scoring import ScoringOutcome
from dualrec.publishing.manifest import Snapshot, staging_folder
from dualrec.publishing.publish import publish
from dualrec.publishing.verify import verify_lists
from dualrec.storage.workspace import Workspace
from tests.conftest import histories_table
from tests.staged import write

FIRST, SECOND, UNPUBLISHED = date(2026, 11, 1), date(2026, 11, 2), date(2026, 11, 3)
WATCHED, UNLISTED, STRANGER = 7, 8, 404
EVIL = "<script>document.title='taken over'</script> & Sons (1999)"
PLACES = {
    FIRST: [(3, "sequence"), (4, "language"), (5, "both")],
    SECOND: [(4, "both"), (3, "sequence"), (None, "language")],
}
PASSED = Gate("users", 1.0, 0.9, True, "at least")
FAILED = Gate("error rate", 0.25, 0.02, False, "at most")
NOT_JUDGED = Gate("overlap", None, 0.05, None, "no previous snapshot")


def write_nights(workspace: Workspace, catalog: pa.Table) -> None:
    """Publish the first two run dates, and report all three."""
    titles = catalog.column("title").to_pylist()
    titles[3] = EVIL
    evil = catalog.set_column(1, "title", pa.array(titles))
    with workspace.writing("catalog/v1", {"dataset": "made up"}) as folder:
        workspace.write_table(evil, f"{folder}/part-0.parquet")
    with workspace.writing("histories/v1", {}) as folder:
        workspace.filesystem.create_dir(f"{folder}/split=test")
        histories = histories_table({WATCHED: [1, 2, 99], UNLISTED: [1]}, "test")
        workspace.write_table(histories, f"{folder}/split=test/part-0.parquet")
    for run_date, places in PLACES.items():
        _publish(
            workspace,
            run_date,
            [_row(run_date, rank, evil, *place) for rank, place in enumerate(places, 1)],
        )
    _report(workspace, UNPUBLISHED, [PASSED, FAILED], published=False)


def _row(
    run_date: date, rank: int, catalog: pa.Table, item: int | None, source: str
) -> dict[str, Any]:
    movie = {"title": "In No Catalog (1901)", "year": 1901, "genres": None}
    movie = movie if item is None else catalog.slice(item - 1, 1).to_pylist()[0]
    own = {name: movie[name] for name in ("title", "year", "genres")}
    return {
        "run_date": run_date,
        "user_id": WATCHED,
        "rank": rank,
        "item_id": item,
        **own,
        "score": 1 / rank,
        "source": source,
        "similar_history": [2, 99],
    }


def _publish(workspace: Workspace, run_date: date, rows: list[dict[str, Any]]) -> None:
    folder = staging_folder(run_date, "0001-5ea7")
    write(workspace, folder, "part-0.parquet", rows)
    whole = verify_lists(workspace, folder, np.array([WATCHED]), run_date, len(rows))
    metrics, cost = _report(workspace, run_date, [PASSED, NOT_JUDGED], published=True)
    snapshot = Snapshot(
        run_date=run_date,
        run_id="0001-5ea7",
        users=whole.users,
        rows=whole.rows,
        files=whole.files,
        models={"sequence": "models/sequence/v1", "data": "v1", "histories": "histories/v1"},
        settings_hash="5ea7",
        metrics=metrics,
        cost=cost,
    )
    publish(workspace, snapshot, 0, PublishSettings())


def _report(
    workspace: Workspace, run_date: date, gates: list[Gate], published: bool
) -> tuple[Any, Any]:
    counts = {
        "errors": 2,
        "titles": {"exact": 12, "fuzzy": 3, "none": 1},
        "prompt_tokens": 900,
        "generated_tokens": 80,
    }
    metrics = snapshot_metrics(
        np.arange(8),
        np.arange(3),
        np.array([run_date], "datetime64[D]"),
        ScoringOutcome(np.arange(2), counts, 0.5),
        0.75,
        0.125,
    )
    spent = [{"scoring_seconds": 10.0, "engine_seconds": 4.0, "answered": 8}]
    actors = {"sequence": 1, "prompt": 1, "engine": 2, "rerank": 1}
    cost = summarize_cost(spent, 900, 80, actors, PriceSettings(engine_hour=3600.0))
    plan = Plan(
        run_date=run_date,
        number=1,
        settings_hash="5ea7",
        data_version="v1",
        histories="histories/v1",
        split="all",
        previous=None,
        carries=False,
        replaces=0,
    )
    write_report(
        workspace, plan, published, metrics, gates, cost, {"scoring": 10.0, "staging": 1.5}
    )
    return metrics, cost
