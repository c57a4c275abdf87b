"""The last nightly run as Prometheus reads it: from the workspace, whether it was published or
not."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from dualrec.cli import app
from dualrec.config.settings import PriceSettings
from dualrec.nightly.gates import Gate
from dualrec.nightly.plan import Plan
from dualrec.nightly.prometheus import exposition
from dualrec.nightly.run_report import snapshot_metrics, summarize_cost, write_report
from dualrec.nightly.scoring import ScoringOutcome
from dualrec.storage.workspace import Workspace
from tests.scraping import samples_of
from tests.staged import NIGHT, publish_run

LATER = date(2026, 11, 9)
GATES = [
    Gate("users", 1.0, 0.9, True, "at least"),
    Gate("error rate", 0.25, 0.05, False, "at most"),
    Gate("overlap", None, 0.2, None, "no previous snapshot"),
]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Build a published snapshot, and a later run that a gate kept from being published."""
    workspace = Workspace(str(tmp_path / "workspace"))
    publish_run(workspace, "A")
    _report(workspace, LATER, number=1)
    return workspace


def _report(workspace: Workspace, run_date: date, number: int, errors: int = 2) -> None:
    plan = Plan(
        run_date=run_date,
        number=number,
        settings_hash="5ea7",
        data_version="v1",
        histories="histories/v1",
        split="all",
        previous=None,
        carries=False,
        replaces=0,
    )
    counts = {
        "errors": errors,
        "titles": {"exact": 12, "fuzzy": 3, "none": 1},
        "prompt_tokens": 900,
        "generated_tokens": 80,
    }
    metrics = snapshot_metrics(
        np.arange(8),
        np.arange(3),
        np.array([run_date], "datetime64[D]"),
        ScoringOutcome(np.arange(2), counts, 0.5),
        None,
        0.125,
    )
    prices = PriceSettings(engine_hour=3600.0)
    spent = [{"scoring_seconds": 10.0, "engine_seconds": 4.0, "answered": 8}]
    cost = summarize_cost(
        spent, 900, 80, {"sequence": 1, "prompt": 1, "engine": 2, "rerank": 1}, prices
    )
    write_report(workspace, plan, False, metrics, GATES, cost, {"scoring": 10.0, "staging": 1.5})


def test_the_last_night_is_told_with_its_gates_and_its_cost(workspace: Workspace) -> None:
    samples = samples_of(exposition(workspace).decode())
    assert samples["dualrec_nightly_start_seconds", "published"] == np.datetime64(
        NIGHT, "s"
    ).astype(int)
    assert samples["dualrec_nightly_start_seconds", "run"] == np.datetime64(LATER, "s").astype(int)
    assert samples["dualrec_nightly_published_seconds",] > 0
    gates = {gate.name: samples["dualrec_nightly_gate_failed", gate.name] for gate in GATES}
    assert gates == {
        "users": 0,
        "error rate": 1,
        "overlap": pytest.approx(float("nan"), nan_ok=True),
    }
    assert samples["dualrec_nightly_gate_value", "error rate"] == 0.25
    assert samples["dualrec_nightly_gate_limit", "error rate"] == 0.05
    assert ("dualrec_nightly_gate_value", "overlap") not in samples
    assert [samples["dualrec_nightly_users", state] for state in ("scored", "carried")] == [8, 3]
    assert [samples["dualrec_nightly_titles", match] for match in ("exact", "fuzzy", "none")] == [
        12,
        3,
        1,
    ]
    assert [samples["dualrec_nightly_tokens", way] for way in ("in", "out")] == [900, 80]
    assert samples["dualrec_nightly_engine_seconds",] == 8
    assert samples["dualrec_nightly_worker_seconds", "engine"] == 20
    assert samples["dualrec_nightly_money",] == 20
    assert samples["dualrec_nightly_part_seconds", "staging"] == 1.5
    assert samples["dualrec_nightly_ndcg_at_10",] == 0.125


def test_of_several_runs_of_a_night_the_last_is_told(workspace: Workspace) -> None:
    _report(workspace, LATER, number=2, errors=7)
    _report(workspace, NIGHT, number=3, errors=5)
    assert samples_of(exposition(workspace).decode())["dualrec_nightly_errors",] == 7


def test_before_the_first_night_nothing_is_told(tmp_path: Path) -> None:
    assert samples_of(exposition(Workspace(str(tmp_path / "none"))).decode()) == {}


def test_the_command_prints_it_or_writes_it_to_a_file(workspace: Workspace, tmp_path: Path) -> None:
    own = ["metrics", "--set", f"workspace={workspace.uri}"]
    printed = CliRunner().invoke(app, own)
    file = tmp_path / "dualrec.prom"
    file.write_text("older")
    assert CliRunner().invoke(app, [*own, "--out", str(file)]).exit_code == 0
    assert printed.stdout == file.read_text() == exposition(workspace).decode()
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["dualrec.prom"]


def test_a_place_that_cannot_be_written_is_told(workspace: Workspace, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["metrics", "--set", f"workspace={workspace.uri}", "--out", str(tmp_path / "no/f")]
    )
    assert done.exit_code == 1
    assert "Traceback" not in done.output and "no/f" in done.stderr
