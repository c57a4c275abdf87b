"""What a run cost and how it went: the figures for a person, and the same as a file. Knows figures
only, no Ray.

reports/nightly/run_date=D/RUN.json holds the run, whom it served and how, its gates, its cost, and
whether it was published.
"""

import json
import re
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from dualrec.cluster.resources import (
    engine_replicas,
    prompt_replicas,
    rerank_replicas,
    sequence_replicas,
)
from dualrec.cluster.summary import Summary
from dualrec.config.settings import PriceSettings, Settings
from dualrec.nightly.gates import Gate
from dualrec.nightly.plan import Plan
from dualrec.publishing.manifest import LISTS, TRACES, Manifest
from dualrec.storage.workspace import Workspace

if TYPE_CHECKING:
    from dualrec.nightly.scoring import ScoringOutcome

REPORTS = "reports/nightly"
HOUR_S = 3600.0

_REPORT = re.compile(r"run_date=(\d{4}-\d\d-\d\d)/([^/]+)\.json$")


def actor_counts(settings: Settings, gpus: float) -> dict[str, int]:
    """Count the actors of each kind that hold resources while users are scored, at most."""
    engine = settings.language.engine
    return {
        "sequence": sequence_replicas(settings, gpus),
        "prompt": prompt_replicas(settings, gpus),
        "engine": engine_replicas(engine, gpus) * engine.tensor_parallel,
        "rerank": rerank_replicas(settings, gpus),
    }


def summarize_cost(
    attempts: list[dict[str, Any]],
    tokens_in: int,
    tokens_out: int,
    counts: dict[str, int],
    prices: PriceSettings,
) -> dict[str, Any]:
    """Sum up what a run cost.

    Args:
        attempts: of each attempt `scoring_seconds`, how long its actors were held;
            `engine_seconds`, how long of it requests were in the engines; and `answered`, how many
            of them came back. What a killed attempt spent since its last heartbeat is missing.
        counts: from `actor_counts`.

    Returns:
        `tokens_in`, `tokens_out`, of the answers that are used; `engine_seconds` (over all
        replicas) and `answered`, also those that were lost with a killed attempt; `worker_seconds`
        by kind: held, whether busy or not; `attempts`; `money`, null where no price is set.
    """
    held_s = sum(attempt.get("scoring_seconds", 0.0) for attempt in attempts)
    busy_s = sum(attempt.get("engine_seconds", 0.0) for attempt in attempts)
    worker_seconds = {kind: round(held_s * count, 1) for kind, count in counts.items()}
    return {
        "tokens_in": tokens_in,
        "tokens_out": tokens_out,
        "engine_seconds": round(busy_s * counts["engine"], 1),
        "worker_seconds": worker_seconds,
        "answered": sum(attempt.get("answered", 0) for attempt in attempts),
        "attempts": len(attempts),
        "money": _money(worker_seconds, tokens_in, tokens_out, prices),
    }


def _money(
    worker_seconds: dict[str, float], tokens_in: int, tokens_out: int, prices: PriceSettings
) -> dict[str, float] | None:
    if not any(prices.model_dump().values()):
        return None
    other_seconds = sum(worker_seconds.values()) - worker_seconds["engine"]
    token_price = tokens_in * prices.million_tokens_in + tokens_out * prices.million_tokens_out
    parts = {
        "engines": worker_seconds["engine"] / HOUR_S * prices.engine_hour,
        "workers": other_seconds / HOUR_S * prices.worker_hour,
        "tokens": token_price / 1e6,
    }
    money = {name: round(value, 4) for name, value in parts.items()}
    return {**money, "total": round(sum(parts.values()), 4)}


def snapshot_metrics(
    scored: np.ndarray,
    carried: np.ndarray,
    scored_on: np.ndarray,
    outcome: "ScoringOutcome",
    overlap: float | None,
    accuracy: float | None,
) -> dict[str, Any]:
    """Collect the metrics of a snapshot's lists, for its manifest and its report.

    Args:
        scored, carried: the users' ids.
        scored_on: datetime64[D], the run date on which each list was scored.
        overlap, accuracy: see `gates.SnapshotMetrics`.
    """
    return {
        "scored": len(scored),
        "carried": len(carried),
        "oldest_list": str(scored_on.min()),
        "errors": outcome.counts["errors"],
        "titles": outcome.counts["titles"],
        "weight": outcome.weight,
        "overlap": overlap,
        "calibration_ndcg_at_10": accuracy,
    }


def report_path(run_date: date, run_id: str) -> str:
    """Return the name of a run's report in the workspace."""
    return f"{REPORTS}/run_date={run_date}/{run_id}.json"


def latest_report(workspace: Workspace) -> dict[str, Any] | None:
    """Read the report of the last run of the last run date, whether it was published or not; None
    where there is none.

    Raises:
        WorkspaceError: it cannot be read.
    """
    runs = []
    for file in workspace.files(REPORTS):
        if match := _REPORT.search(file.path):
            runs.append((match[1], match[2]))
    if not runs:
        return None
    run_date, run_id = max(runs)
    return read_report(workspace, date.fromisoformat(run_date), run_id)


def read_report(workspace: Workspace, run_date: date, run_id: str) -> dict[str, Any] | None:
    """Read the report of one run; None where there is none.

    Raises:
        WorkspaceError: it cannot be read.
    """
    name = report_path(run_date, run_id)
    if not workspace.has_file(name):
        return None
    content: dict[str, Any] = json.loads(workspace.read_bytes(name))
    return content


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
    workspace.write_bytes(report_path(plan.run_date, plan.run_id), content)


def summarize_run(workspace: Workspace, manifest: Manifest, state: str) -> Summary:
    """Summarize a published run for the job's last lines."""
    metrics, cost, titles = manifest.metrics, manifest.cost, manifest.metrics["titles"]
    written = sum(titles.values())
    lines: dict[str, object] = {
        "run date": f"{manifest.run_date}, run {manifest.run_id} ({state}), "
        f"number {manifest.number}",
        "users": manifest.users,
        "scored": metrics["scored"],
        "carried over": f"{metrics['carried']:,}, the oldest list from {metrics['oldest_list']}",
        "rows": manifest.rows,
        "titles tied to items": f"{1 - titles['none'] / max(written, 1):.1%} of {written:,}",
        "users the language model failed on": metrics["errors"],
        "tokens": f"{cost['tokens_in']:,} in, {cost['tokens_out']:,} out",
        "engine": f"{cost['engine_seconds']} s busy, {cost['worker_seconds']['engine']} s held",
    }
    if cost["money"] is not None:
        lines["money"] = f"{cost['money']['total']:.4f}"
    paths = {
        "table": f"{workspace.uri}/{LISTS}",
        "traces": f"{workspace.uri}/{manifest.folder(TRACES)}",
        "report": f"{workspace.uri}/{report_path(manifest.run_date, manifest.run_id)}",
    }
    return Summary("nightly", lines, paths)
