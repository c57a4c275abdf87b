"""Write deploy/grafana/dualrec.json: one Grafana dashboard of the last nightly run, of running jobs and
of serving.

python scripts/make_dashboard.py
"""

import argparse
import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[1] / "deploy/grafana/dualrec.json"
COLUMNS = 24  # of Grafana's grid
SOURCE = {"type": "prometheus", "uid": "${source}"}

# Each row is panels side by side: title, what it says, unit, kind, and query by legend.
Panel = tuple[str, str, str, str, dict[str, str]]
ROWS: dict[str, list[Panel]] = {
    "The last nightly run": [
        (
            "Age of the published snapshot",
            "Since midnight UTC of the run date that readers have. A nightly job keeps it under two days.",
            "s", "stat", {"age": 'time() - max(dualrec_nightly_start_seconds{state="published"})'},
        ),
        (
            "Gates",
            "1 where a gate kept the last run back. A gate that could not judge is not shown.",
            "short", "stat", {"{{gate}}": "max by (gate) (dualrec_nightly_gate_failed) >= 0"},
        ),
        ("Users", "Scored, and carried over.", "short", "timeseries", {"{{state}}": "max by (state) (dualrec_nightly_users)"}),
        (
            "Accuracy",
            "NDCG@10 of the lists on validation users, and how many movies of the previous lists are still listed.",
            "percentunit", "timeseries",
            {"NDCG@10": "max(dualrec_nightly_ndcg_at_10)", "overlap": "max(dualrec_nightly_overlap)"},
        ),
        (
            "Titles tied to items",
            "Share of all titles that the language model wrote.",
            "percentunit", "timeseries",
            {"{{match}}": "max by (match) (dualrec_nightly_titles) / ignoring(match) group_left sum(max by (match) (dualrec_nightly_titles))"},
        ),
        ("Tokens", "Of prompts and answers.", "short", "timeseries", {"{{direction}}": "max by (direction) (dualrec_nightly_tokens)"}),
        (
            "Engines and workers",
            "Seconds that actors held resources, by kind, and seconds that the engines were busy.",
            "s", "timeseries",
            {"{{kind}}, held": "max by (kind) (dualrec_nightly_worker_seconds)", "engines, busy": "max(dualrec_nightly_engine_seconds)"},
        ),
        ("Money", "By nightly.prices; empty where none is set.", "short", "timeseries", {"cost": "max(dualrec_nightly_money)"}),
    ],
    "Scoring now": [
        ("Users a second", "", "ops", "timeseries", {"users": "sum(rate(ray_dualrec_users_scored_total[1m]))"}),
        ("Tokens a second", "", "ops", "timeseries", {"{{direction}}": "sum by (direction) (rate(ray_dualrec_tokens_total[1m]))"}),
        ("Engines busy", "Share of the time in which there were rows in them.", "percentunit", "timeseries",
         {"busy": "sum(rate(ray_dualrec_engine_seconds_total[1m]))"}),
        ("Errors by kind", "Users on whom the language model failed.", "ops", "timeseries",
         {"{{kind}}": "sum by (kind) (rate(ray_dualrec_errors_total[5m]))"}),
        ("Titles by match", "How they are tied to items.", "ops", "timeseries",
         {"{{match}}": "sum by (match) (rate(ray_dualrec_titles_total[1m]))"}),
        ("Titles that are of no use", "Repeated within an answer, or already watched.", "ops", "timeseries",
         {"repeated": "sum(rate(ray_dualrec_titles_repeated_total[1m]))", "watched": "sum(rate(ray_dualrec_titles_watched_total[1m]))"}),
    ],
    "Training now": [
        ("Loss", "Nats a target, after each epoch.", "short", "timeseries",
         {"{{job}}, {{split}}": "max by (job, split) (ray_dualrec_training_loss)"}),
        ("Throughput", "Targets (train-sequence) or examples (finetune-language) a second.", "ops", "timeseries",
         {"{{job}}": "max by (job) (ray_dualrec_training_rate)"}),
        ("Epoch", "The last finished one.", "short", "stat", {"{{job}}": "max by (job) (ray_dualrec_training_epoch)"}),
    ],
    "Serving": [
        ("Lists a second", "By where they came from.", "ops", "timeseries",
         {"{{source}}": "sum by (source) (rate(ray_dualrec_serving_answers_total[1m]))"}),
        ("Age of the served snapshot", "Since midnight UTC of it.", "s", "stat", {"age": "time() - min(ray_dualrec_serving_snapshot_seconds)"}),
        ("A newer snapshot cannot be loaded", "1 while that is so; /health says why.", "short", "stat",
         {"stale": "max(ray_dualrec_serving_stale)"}),
    ],
}  # fmt: skip


def dashboard() -> str:
    """The whole file."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS.items():
        panels.append(
            {
                "type": "row",
                "title": title,
                "gridPos": _place(0, top, COLUMNS, 1),
                "id": len(panels) + 1,
            }
        )
        top += 1
        wide = COLUMNS // min(len(row), 4)
        for number, panel in enumerate(row):
            at = _place(number % 4 * wide, top + number // 4 * 8, wide, 8)
            panels.append({"id": len(panels) + 1, "gridPos": at, **_panel(*panel)})
        top += (len(row) + 3) // 4 * 8
    source = {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    whole = {
        "title": "dualrec", "uid": "dualrec", "tags": ["dualrec"], "schemaVersion": 39, "timezone": "utc", "editable": True,
        "refresh": "30s", "time": {"from": "now-7d", "to": "now"}, "templating": {"list": [source]}, "panels": panels,
    }  # fmt: skip
    return json.dumps(whole, indent=2) + "\n"


def queries() -> list[str]:
    """Every query of the dashboard."""
    return [query for row in ROWS.values() for *_, by_legend in row for query in by_legend.values()]


def _panel(
    title: str, says: str, unit: str, kind: str, by_legend: dict[str, str]
) -> dict[str, Any]:
    targets = [
        {
            "refId": chr(ord("A") + number),
            "expr": query,
            "legendFormat": legend,
            "datasource": SOURCE,
        }
        for number, (legend, query) in enumerate(by_legend.items())
    ]
    defaults = {"unit": unit, "min": 0}
    return {
        "type": kind, "title": title, "description": says, "datasource": SOURCE, "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []}, "options": {},
    }  # fmt: skip


def _place(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


if __name__ == "__main__":
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    FILE.write_text(dashboard())
