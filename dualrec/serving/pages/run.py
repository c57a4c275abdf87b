"""How a night went: its figures beside those of the night before, its gates, and the seconds of
each part."""

from collections.abc import Callable
from datetime import date
from typing import Any, NamedTuple

from dualrec.nightly.gates import Gate
from dualrec.nightly.report import last_report, report_of
from dualrec.publishing.manifest import Manifest, last_standing
from dualrec.storage.workspace import Workspace

NOTHING = "–"


class RunView(NamedTuple):
    """A night as the page shows it.

    Attributes:
        figures: what, this night, the night before; `NOTHING` where there is none.
        gates: name, judgement, and whether it passed (None: not judged).
        parts: part of the work, and its seconds.
        kept_back: the night and the failed gates of a later run that was not published; None where
            there is none.
    """

    night: Manifest
    before: Manifest | None
    figures: list[tuple[str, str, str]]
    gates: list[tuple[str, str, bool | None]]
    parts: list[tuple[str, float]]
    kept_back: tuple[str, list[str]] | None


def run_view(workspace: Workspace, night: Manifest) -> RunView:
    """Put a published night together.

    Raises:
        WorkspaceError: the workspace cannot be read.
        PublishError: a manifest is broken.
    """
    before = last_standing(workspace, before=night.run_date)
    report = report_of(workspace, night.run_date, night.run_id) or {}
    figures = [
        (what, said(night), said(before) if before else NOTHING) for what, said in FIGURES.items()
    ]
    gates = [(gate.name, gate.judged(), gate.passed) for gate in _gates(report)]
    return RunView(
        night,
        before,
        figures,
        gates,
        list(report.get("seconds", {}).items()),
        _kept_back(workspace, night),
    )


def _kept_back(workspace: Workspace, night: Manifest) -> tuple[str, list[str]] | None:
    report = last_report(workspace)
    if (
        report is None
        or report["published"]
        or date.fromisoformat(report["plan"]["run_date"]) < night.run_date
    ):
        return None
    failed = [f"{gate.name}: {gate.judged()}" for gate in _gates(report) if gate.passed is False]
    return report["plan"]["run_date"], failed


def _gates(report: dict[str, Any]) -> list[Gate]:
    return [Gate(**gate) for gate in report.get("gates", [])]


def _of(*path: str, shown: str = "{:,}") -> Callable[[Manifest], str]:
    """Reads one figure of a manifest, which an older or another job may have left out."""

    def said(night: Manifest) -> str:
        found: Any = night.model_dump()
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return NOTHING if found is None else shown.format(found)

    return said


def _resolved(night: Manifest) -> str:
    titles = night.metrics.get("titles")
    written = sum(titles.values()) if titles else 0
    return f"{1 - titles['none'] / written:.1%} of {written:,}" if titles and written else NOTHING


FIGURES: dict[str, Callable[[Manifest], str]] = {
    "users": _of("users"),
    "scored anew": _of("metrics", "scored"),
    "carried over": _of("metrics", "carried"),
    "oldest list": _of("metrics", "oldest_list", shown="{}"),
    "users the language model failed on": _of("metrics", "errors"),
    "titles tied to items": _resolved,
    "movies kept from the night before": _of("metrics", "overlap", shown="{:.1%}"),
    "NDCG@10 on validation users": _of("metrics", "calibration_ndcg_at_10", shown="{:.4f}"),
    "weight of the language model": _of("metrics", "weight", shown="{:g}"),
    "tokens in": _of("cost", "tokens_in"),
    "tokens out": _of("cost", "tokens_out"),
    "engines busy, s": _of("cost", "engine_seconds"),
    "engines held, s": _of("cost", "worker_seconds", "engine"),
    "attempts": _of("cost", "attempts"),
    "money": _of("cost", "money", "total", shown="{:.4f}"),
}
