"""What a night was: the figures for a person, and the same as a file. Knows figures only.

reports/nightly/run_date=D/RUN.json holds the run, whom it served and how, its gates, its cost, and
whether it stands.
"""

import json
import re
from datetime import date
from typing import Any

import numpy as np

from dualrec.cluster.summary import Summary
from dualrec.nightly.gates import Gate
from dualrec.nightly.plan import Plan
from dualrec.nightly.scoring import Outcome
from dualrec.publishing.manifest import LISTS, TRACES, Manifest
from dualrec.storage.workspace import Workspace

REPORTS = "reports/nightly"

_REPORT = re.compile(r"run_date=(\d{4}-\d\d-\d\d)/([^/]+)\.json$")


def report_name(run_date: date, run_id: str) -> str:
    """Where the report of a run lies."""
    return f"{REPORTS}/run_date={run_date}/{run_id}.json"


def last_report(workspace: Workspace) -> dict[str, Any] | None:
    """The report of the last night's last run, whether it was published or not; None where there is
    none.

    Raises:
        WorkspaceError: it cannot be read.
    """
    found = [
        (match[1], match[2])
        for file in workspace.files(REPORTS)
        if (match := _REPORT.search(file.path))
    ]
    if not found:
        return None
    run_date, run_id = max(found)
    return report_of(workspace, date.fromisoformat(run_date), run_id)


def report_of(workspace: Workspace, run_date: date, run_id: str) -> dict[str, Any] | None:
    """The report of one run; None where there is none.

    Raises:
        WorkspaceError: it cannot be read.
    """
    name = report_name(run_date, run_id)
    if not workspace.has_file(name):
        return None
    content: dict[str, Any] = json.loads(workspace.read_bytes(name))
    return content


def metrics_of(
    scored: np.ndarray,
    carried: np.ndarray,
    nights: np.ndarray,
    outcome: Outcome,
    overlap: float | None,
    accuracy: float | None,
) -> dict[str, Any]:
    """What is told of a night's lists, in its manifest and its report.

    Args:
        scored, carried: the users' ids.
        nights: datetime64[D], on which each list was scored.
        overlap, accuracy: see `gates.Measured`.
    """
    return {
        "scored": len(scored),
        "carried": len(carried),
        "oldest_list": str(nights.min()),
        "errors": outcome.did["errors"],
        "titles": outcome.did["titles"],
        "weight": outcome.weight,
        "overlap": overlap,
        "calibration_ndcg_at_10": accuracy,
    }


def write_report(
    workspace: Workspace,
    plan: Plan,
    published: bool,
    metrics: dict[str, Any],
    gates: list[Gate],
    cost: dict[str, Any],
    seconds: dict[str, float],
) -> None:
    """Write the report of a run, over an earlier one of the same run.

    Args:
        seconds: of each part of the work, in this attempt.

    Raises:
        WorkspaceError: it cannot be written.
    """
    report = {
        "plan": plan.model_dump(mode="json"),
        "published": published,
        "metrics": metrics,
        "gates": [gate._asdict() for gate in gates],
        "cost": cost,
        "seconds": seconds,
    }
    content = json.dumps(report, indent=2, allow_nan=False).encode()
    workspace.write_bytes(report_name(plan.run_date, plan.run_id), content)


def summary_of(workspace: Workspace, manifest: Manifest, state: str) -> Summary:
    """What the job says of a night that stands."""
    metrics, cost, titles = manifest.metrics, manifest.cost, manifest.metrics["titles"]
    written = max(sum(titles.values()), 1)
    lines: dict[str, object] = {
        "night": f"{manifest.run_date}, run {manifest.run_id} ({state}), number {manifest.number}",
        "users": manifest.users,
        "scored": metrics["scored"],
        "carried over": f"{metrics['carried']:,}, the oldest list from {metrics['oldest_list']}",
        "rows": manifest.rows,
        "titles tied to items": f"{1 - titles['none'] / written:.1%} of {sum(titles.values()):,}",
        "users the language model failed on": metrics["errors"],
        "tokens": f"{cost['tokens_in']:,} in, {cost['tokens_out']:,} out",
        "engine": f"{cost['engine_seconds']} s busy, {cost['worker_seconds']['engine']} s held",
    }
    if cost["money"] is not None:
        lines["money"] = f"{cost['money']['total']:.4f}"
    places = {
        "table": f"{workspace.uri}/{LISTS}",
        "traces": f"{workspace.uri}/{manifest.folder(TRACES)}",
    }
    places["report"] = f"{workspace.uri}/{report_name(manifest.run_date, manifest.run_id)}"
    return Summary("nightly", lines, places)
