"""How a run went: its figures beside those of the previous snapshot, its gates, and the seconds of
each part. Knows no HTML."""

from collections.abc import Callable
from datetime import date
from typing import Any, NamedTuple

from dualrec.nightly.gates import Gate
from dualrec.nightly.run_report import latest_report, read_report
from dualrec.publishing.manifest import Manifest, latest_manifest
from dualrec.storage.workspace import Workspace

MISSING = "–"


class RunView(NamedTuple):
    """A snapshot as the page shows it.

    Attributes:
        previous: the snapshot of the run date before; None where there is none.
        figures: name, this snapshot's, the previous one's; `MISSING` where there is none.
        gates: name, judgement, and whether it passed (None: not judged).
        parts: part of the work, and its seconds.
        unpublished: run date and failed gates of a later run that was not published; None where
            there is none.
    """

    manifest: Manifest
    previous: Manifest | None
    figures: list[tuple[str, str, str]]
    gates: list[tuple[str, str, bool | None]]
    parts: list[tuple[str, float]]
    unpublished: tuple[str, list[str]] | None


def run_view(workspace: Workspace, manifest: Manifest) -> RunView:
    """Collect what the page shows of a published snapshot.

    Raises:
        WorkspaceError: the workspace cannot be read.
        PublishError: a manifest is broken.
    """
    previous = latest_manifest(workspace, before=manifest.run_date)
    report = read_report(workspace, manifest.run_date, manifest.run_id) or {}
    figures = []
    for name, figure in FIGURES.items():
        figures.append((name, figure(manifest), figure(previous) if previous else MISSING))
    return RunView(
        manifest,
        previous,
        figures,
        gates=[(gate.name, gate.describe(), gate.passed) for gate in _gates(report)],
        parts=list(report.get("seconds", {}).items()),
        unpublished=_unpublished_run(workspace, manifest),
    )


def _unpublished_run(workspace: Workspace, manifest: Manifest) -> tuple[str, list[str]] | None:
    report = latest_report(workspace)
    if report is None or report["published"]:
        return None
    run_date: str = report["plan"]["run_date"]
    if date.fromisoformat(run_date) < manifest.run_date:
        return None
    failed = [gate for gate in _gates(report) if gate.passed is False]
    return run_date, [f"{gate.name}: {gate.describe()}" for gate in failed]


def _gates(report: dict[str, Any]) -> list[Gate]:
    return [Gate(**gate) for gate in report.get("gates", [])]


def _figure(*path: str, format_as: str = "{:,}") -> Callable[[Manifest], str]:
    """Return a function that formats one figure of a manifest; an older or another job may have
    left it out."""

    def figure(manifest: Manifest) -> str:
        value: Any = manifest.model_dump()
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return MISSING if value is None else format_as.format(value)

    return figure


def _resolved_titles(manifest: Manifest) -> str:
    titles = manifest.metrics.get("titles") or {}
    written = sum(titles.values())
    return f"{1 - titles['none'] / written:.1%} of {written:,}" if written else MISSING


FIGURES: dict[str, Callable[[Manifest], str]] = {
    "users": _figure("users"),
    "scored": _figure("metrics", "scored"),
    "carried over": _figure("metrics", "carried"),
    "oldest list": _figure("metrics", "oldest_list", format_as="{}"),
    "users the language model failed on": _figure("metrics", "errors"),
    "titles tied to items": _resolved_titles,
    "movies still in the lists of users scored now": _figure(
        "metrics", "overlap", format_as="{:.1%}"
    ),
    "NDCG@10 on validation users": _figure("metrics", "calibration_ndcg_at_10", format_as="{:.4f}"),
    "weight of the language model": _figure("metrics", "weight", format_as="{:g}"),
    "tokens in": _figure("cost", "tokens_in"),
    "tokens out": _figure("cost", "tokens_out"),
    "engines busy, s": _figure("cost", "engine_seconds"),
    "engines held, s": _figure("cost", "worker_seconds", "engine"),
    "attempts": _figure("cost", "attempts"),
    "money": _figure("cost", "money", "total", format_as="{:.4f}"),
}
