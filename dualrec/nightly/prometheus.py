"""The last night's figures for Prometheus, from its report and the manifests: `dualrec metrics`,
and /metrics of `dualrec serve`.

A night's own processes are gone when it ends, well or not, so what it was is read from the
workspace.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from dualrec.errors import WorkspaceError
from dualrec.nightly.report import last_report
from dualrec.publishing.manifest import last_standing
from dualrec.storage.filesystems import error_remedy, error_text
from dualrec.storage.workspace import Workspace

Labels = Mapping[str, str]
NOT_JUDGED = float("nan")
DESCRIPTIONS = {
    "dualrec_night_start_seconds": "Midnight UTC of the last published night (published) and of the last run (run), since 1970.",
    "dualrec_night_published_seconds": "When the last published night was published, since 1970.",
    "dualrec_night_users": "Users of the last run, by what was done for them.",
    "dualrec_night_errors": "Users of the last run on whom the language model failed.",
    "dualrec_night_titles": "Titles that the last run wrote, by how they were tied to items.",
    "dualrec_night_gate_failed": "Of the last run: 1 where the gate kept it back, 0 where it passed, NaN where it could not judge.",
    "dualrec_night_gate_value": "What the gate judged.",
    "dualrec_night_gate_limit": "What the gate allows.",
    "dualrec_night_tokens": "Tokens of the last run.",
    "dualrec_night_engine_seconds": "Seconds in which its engines were busy.",
    "dualrec_night_worker_seconds": "Seconds in which its actors held resources, by kind.",
    "dualrec_night_money": "What it cost, in the currency of nightly.prices.",
    "dualrec_night_part_seconds": "How long each part of the run's last attempt took.",
    "dualrec_night_ndcg_at_10": "NDCG@10 of its lists on validation users.",
    "dualrec_night_overlap": "Share of the movies of the night before that are still in the lists of users scored anew.",
}


def exposition(workspace: Workspace) -> bytes:
    """The figures in Prometheus' text format; empty where nothing has run yet.

    Raises:
        WorkspaceError: the workspace cannot be read.
        PublishError: the manifest that stands is broken.
    """
    registry = CollectorRegistry()
    gauges: dict[str, Gauge] = {}
    for name, value, labels in _figures(workspace):
        if name not in gauges:
            gauges[name] = Gauge(name, DESCRIPTIONS[name], tuple(labels), registry=registry)
        (gauges[name].labels(**labels) if labels else gauges[name]).set(value)
    return generate_latest(registry)


def write_metrics(workspace: Workspace, file: Path) -> None:
    """Write the figures to a local file by one rename, for node_exporter's textfile collector,
    which may read any time.

    Raises:
        WorkspaceError: it cannot be written, or the workspace not read.
        PublishError: the manifest that stands is broken.
    """
    content = exposition(workspace)
    unfinished = file.with_name(f".{file.name}.unfinished")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(file)
    except OSError as error:
        raise WorkspaceError(
            f"{file} cannot be written: {error_text(error)}: {error_remedy(error)}"
        ) from error


def _figures(workspace: Workspace) -> Iterator[tuple[str, float, Labels]]:
    standing = last_standing(workspace)
    if standing is not None:
        yield "dualrec_night_start_seconds", _midnight(standing.run_date), {"state": "published"}
        yield "dualrec_night_published_seconds", standing.published.timestamp(), {}
    report = last_report(workspace)
    if report is not None:
        run_date = date.fromisoformat(report["plan"]["run_date"])
        yield "dualrec_night_start_seconds", _midnight(run_date), {"state": "run"}
        yield from _of_lists(report["metrics"])
        yield from _of_gates(report["gates"])
        yield from _of_work(report["cost"], report["seconds"])


def _of_lists(metrics: dict[str, Any]) -> Iterator[tuple[str, float, Labels]]:
    for state in ("scored", "carried"):
        yield "dualrec_night_users", metrics[state], {"state": state}
    yield "dualrec_night_errors", metrics["errors"], {}
    for match, count in metrics["titles"].items():
        yield "dualrec_night_titles", count, {"match": match}
    for name, kept in (("ndcg_at_10", "calibration_ndcg_at_10"), ("overlap", "overlap")):
        if metrics[kept] is not None:
            yield f"dualrec_night_{name}", metrics[kept], {}


def _of_gates(gates: list[dict[str, Any]]) -> Iterator[tuple[str, float, Labels]]:
    for gate in gates:
        own = {"gate": gate["name"]}
        yield (
            "dualrec_night_gate_failed",
            NOT_JUDGED if gate["passed"] is None else float(not gate["passed"]),
            own,
        )
        for kind in ("value", "limit"):
            if gate[kind] is not None:
                yield f"dualrec_night_gate_{kind}", gate[kind], own


def _of_work(cost: dict[str, Any], parts: dict[str, float]) -> Iterator[tuple[str, float, Labels]]:
    for direction in ("in", "out"):
        yield "dualrec_night_tokens", cost[f"tokens_{direction}"], {"direction": direction}
    yield "dualrec_night_engine_seconds", cost["engine_seconds"], {}
    for kind, seconds in cost["worker_seconds"].items():
        yield "dualrec_night_worker_seconds", seconds, {"kind": kind}
    for part, seconds in parts.items():
        yield "dualrec_night_part_seconds", seconds, {"part": part}
    if cost["money"] is not None:
        yield "dualrec_night_money", cost["money"]["total"], {}


def _midnight(run_date: date) -> float:
    return datetime(run_date.year, run_date.month, run_date.day, tzinfo=UTC).timestamp()
