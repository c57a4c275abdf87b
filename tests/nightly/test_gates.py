"""What keeps a night back, and what is too little to judge by."""

from dataclasses import replace

import pytest

from dualrec.config.settings import GateSettings, PriceSettings, load_settings
from dualrec.nightly.gates import MIN_SCORED_USERS, SnapshotMetrics, judge_gates
from dualrec.nightly.run_report import actor_counts, summarize_cost

GOOD = SnapshotMetrics(
    users=1000,
    users_before=1000,
    scored=100,
    errors=1,
    titles=300,
    resolved=290,
    overlap=0.5,
    accuracy=0.10,
    accuracy_before=0.10,
)

DEFAULTS = GateSettings()


def _failed(night: SnapshotMetrics, gates: GateSettings = DEFAULTS) -> list[str]:
    return [gate.name for gate in judge_gates(night, gates) if gate.passed is False]


def _unjudged(night: SnapshotMetrics, gates: GateSettings = DEFAULTS) -> dict[str, str]:
    return {gate.name: gate.why for gate in judge_gates(night, gates) if gate.passed is None}


def test_a_good_night_passes_every_gate() -> None:
    assert [gate.passed for gate in judge_gates(GOOD, DEFAULTS)] == [True] * 5


@pytest.mark.parametrize(
    ("change", "gate"),
    [
        ({"users": 899}, "users"),
        ({"errors": 3}, "error rate"),
        ({"resolved": 149}, "titles resolved"),
        ({"overlap": 0.04}, "overlap"),
        ({"accuracy": 0.079}, "metric drop"),
    ],
)
def test_each_gate_keeps_a_bad_night_back_and_is_named(change: dict[str, float], gate: str) -> None:
    assert _failed(replace(GOOD, **change)) == [gate]


def test_a_value_at_its_limit_passes() -> None:
    at = replace(GOOD, users=900, errors=2, resolved=150, overlap=0.05)
    assert _failed(at) == []


def test_a_gain_is_no_drop() -> None:
    assert _failed(replace(GOOD, accuracy=0.2)) == []


def test_a_first_night_is_judged_by_what_there_is() -> None:
    first = replace(GOOD, users_before=None, overlap=None, accuracy_before=None)
    assert set(_unjudged(first)) == {"users", "overlap", "metric drop"}
    assert _failed(replace(first, errors=50)) == ["error rate"]


def test_few_scored_users_say_nothing_about_rates() -> None:
    few = replace(
        GOOD, scored=MIN_SCORED_USERS - 1, errors=MIN_SCORED_USERS - 1, titles=0, resolved=0
    )
    assert set(_unjudged(few)) == {"error rate", "titles resolved", "overlap"}
    assert _failed(replace(few, scored=MIN_SCORED_USERS)) == ["error rate"]


def test_a_gate_that_is_switched_off_does_not_judge() -> None:
    off = GateSettings(
        min_users=None,
        max_error_rate=None,
        min_titles_resolved=None,
        min_overlap=None,
        max_metric_drop=None,
    )
    bad = SnapshotMetrics(1, 1000, 100, 100, 300, 0, 0.0, 0.0, 0.1)
    assert _failed(bad) == ["users", "error rate", "titles resolved", "overlap", "metric drop"]
    assert set(_unjudged(bad, off).values()) == {"switched off"}


def test_the_cost_of_all_attempts_is_summed_and_priced() -> None:
    settings = load_settings(
        None,
        [
            "language.engine.replicas=2",
            "nightly.prices.engine_hour=3",
            "nightly.prices.worker_hour=0.5",
            "nightly.prices.million_tokens_in=1",
            "nightly.prices.million_tokens_out=10",
        ],
    )
    spent = [
        {"scoring_seconds": 1000.0, "engine_seconds": 600.0},
        {},
        {"scoring_seconds": 800.0, "engine_seconds": 400.0},
    ]
    cost = summarize_cost(
        spent, 500_000, 20_000, actor_counts(settings, gpus=0), settings.nightly.prices
    )
    assert cost["engine_seconds"] == 2 * 1000
    assert cost["worker_seconds"] == {
        "sequence": 1800,
        "prompt": 1800,
        "engine": 3600,
        "rerank": 3600,
    }
    assert cost["attempts"] == 3
    assert cost["money"] == {"engines": 3.0, "workers": 1.0, "tokens": 0.7, "total": 4.7}


def test_without_prices_no_money_is_told() -> None:
    assert (
        summarize_cost([{}], 1, 1, actor_counts(load_settings(), gpus=0), PriceSettings())["money"]
        is None
    )
