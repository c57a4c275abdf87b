"""The last nightly run's figures for Prometheus, from its report and the manifests: `dualrec
metrics`, and /metrics of `dualrec serve`.

The processes of a run are gone when it ends, well or not, so its figures are read from the
workspace.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from dualrec.errors import WorkspaceError
from dualrec.nightly.run_report import latest_report
from dualrec.publishing.manifest import latest_manifest
from dualrec.storage.filesystems import error_remedy, error_text
from dualrec.storage.workspace import Workspace

Labels = Mapping[str, str]
NOT_JUDGED = float("nan")
DESCRIPTIONS = {
    "dualrec_nightly_start_seconds": "Midnight UTC of the run date of the last published snapshot "
    "(published) and of the last run (run), since 1970.",
    "dualrec_nightly_published_seconds": "When the last snapshot was published, since 1970.",
    "dualrec_nightly_users": "Users of the last run, scored or carried over.",
    "dualrec_nightly_errors": "Users of the last run on whom the language model failed.",
    "dualrec_nightly_titles": "Titles that the last run wrote, by how they were tied to items.",
    "dualrec_nightly_gate_failed": "Of the last run: 1 where the gate failed, 0 where it passed, "
    "NaN where it could not judge.",
    "dualrec_nightly_gate_value": "What the gate judged.",
    "dualrec_nightly_gate_limit": "What the gate allows.",
    "dualrec_nightly_tokens": "Tokens of the last run.",
    "dualrec_nightly_engine_seconds": "Seconds in which its engines were busy.",
    "dualrec_nightly_worker_seconds": "Seconds in which its actors held resources, by kind.",
    "dualrec_nightly_money": "What it cost, in the currency of nightly.prices.",
    "dualrec_nightly_part_seconds": "How long each part of the run's last attempt took.",
    "dualrec_nightly_ndcg_at_10": "NDCG@10 of its lists on validation users.",
    "dualrec_nightly_overlap": "Share of the movies of the previous snapshot that are still in the "
    "lists of users scored now.",
}


def exposition(workspace: Workspace) -> bytes:
    """Return the figures in Prometheus' text format; empty where nothing has run yet.

    Raises:
        WorkspaceError: the workspace cannot be read.
        PublishError: the current manifest is broken.
    """
    registry = CollectorRegistry()
    gauges: dict[str, Gauge] = {}
    for name, value, labels in _samples(workspace):
        if name not in gauges:
            gauges[name] = Gauge(name, DESCRIPTIONS[name], tuple(labels), registry=registry)
        (gauges[name].labels(**labels) if labels else gauges[name]).set(value)
    return generate_latest(registry)


def write_metrics(workspace: Workspace, file: Path) -> None:
    """Write the figures to a local file by one rename, for node_exporter's textfile collector,
    which may read any time.

    Raises:
        WorkspaceError: it cannot be written, or the workspace not read.
        PublishError: the current manifest is broken.
    """
    content = exposition(workspace)
    unfinished = file.with_name(f".{file.name}.unfinished")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(file)
    except OSError as error:
        message = f"{file} cannot be written: {error_text(error)}: {error_remedy(error)}"
        raise WorkspaceError(message) from error


def _samples(workspace: Workspace) -> Iterator[tuple[str, float, Labels]]:
    manifest = latest_manifest(workspace)
    if manifest is not None:
        yield "dualrec_nightly_start_seconds", _midnight(manifest.run_date), {"state": "published"}
        yield "dualrec_nightly_published_seconds", manifest.published.timestamp(), {}
    report = latest_report(workspace)
    if report is not None:
        run_date = date.fromisoformat(report["plan"]["run_date"])
        yield "dualrec_nightly_start_seconds", _midnight(run_date), {"state": "run"}
        yield from _list_samples(report["metrics"])
        yield from _gate_samples(report["gates"])
        yield from _cost_samples(report["cost"], report["seconds"])


def _list_samples(metrics: dict[str, Any]) -> Iterator[tuple[str, float, Labels]]:
    for state in ("scored", "carried"):
        yield "dualrec_nightly_users", metrics[state], {"state": state}
    yield "dualrec_nightly_errors", metrics["errors"], {}
    for match, count in metrics["titles"].items():
        yield "dualrec_nightly_titles", count, {"match": match}
    if metrics["calibration_ndcg_at_10"] is not None:
        yield "dualrec_nightly_ndcg_at_10", metrics["calibration_ndcg_at_10"], {}
    if metrics["overlap"] is not None:
        yield "dualrec_nightly_overlap", metrics["overlap"], {}


def _gate_samples(gates: list[dict[str, Any]]) -> Iterator[tuple[str, float, Labels]]:
    for gate in gates:
        labels = {"gate": gate["name"]}
        failed = NOT_JUDGED if gate["passed"] is None else float(not gate["passed"])
        yield "dualrec_nightly_gate_failed", failed, labels
        for kind in ("value", "limit"):
            if gate[kind] is not None:
                yield f"dualrec_nightly_gate_{kind}", gate[kind], labels


def _cost_samples(
    cost: dict[str, Any], parts: dict[str, float]
) -> Iterator[tuple[str, float, Labels]]:
    for direction in ("in", "out"):
        yield "dualrec_nightly_tokens", cost[f"tokens_{direction}"], {"direction": direction}
    yield "dualrec_nightly_engine_seconds", cost["engine_seconds"], {}
    for kind, seconds in cost["worker_seconds"].items():
        yield "dualrec_nightly_worker_seconds", seconds, {"kind": kind}
    for part, seconds in parts.items():
        yield "dualrec_nightly_part_seconds", seconds, {"part": part}
    if cost["money"] is not None:
        yield "dualrec_nightly_money", cost["money"]["total"], {}


def _midnight(run_date: date) -> float:
    return datetime(run_date.year, run_date.month, run_date.day, tzinfo=UTC).timestamp()
