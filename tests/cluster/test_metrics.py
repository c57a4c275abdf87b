"""Metrics of running jobs, scraped from Ray's own port as Prometheus would."""

from collections import Counter

import pyarrow as pa
import pytest
import ray

from dualrec.cluster.metrics import (
    OTHER,
    EngineMetrics,
    ScoringMetrics,
    TrainingMetrics,
    error_kind,
)
from dualrec.storage.schemas import TRACES
from tests.scraping import Samples, scraped_until


def _trace(**given: object) -> dict[str, object]:
    return {"item_ids": [], "titles": [], "title_item_ids": [], "title_matches": [], **given}


TRACES_TABLE = pa.Table.from_pylist(
    [
        _trace(
            item_ids=[1, 2], titles=["a", "b", "c"], title_item_ids=[2, 3, 3],
            title_matches=["exact", "fuzzy", "exact"], prompt_tokens=100, generated_tokens=20,
        ),
        _trace(
            titles=["d"], title_item_ids=[None], title_matches=["none"],
            prompt_tokens=50, generated_tokens=5,
        ),
        _trace(error="HTTP 400: a fault"),
    ],
    schema=TRACES,
)  # fmt: skip


class _Counter:
    """Stands for Ray's counters and records their values, by name and tags."""

    def __init__(self, name: str, **_: object) -> None:
        self.name = name

    def inc(self, value: float = 1.0, tags: dict[str, str] | None = None) -> None:
        SUMS[(self.name, *(tags or {}).values())] += value


SUMS: Counter[tuple[str, ...]] = Counter()
EXPECTED = {
    ("dualrec_users_scored",): 3,
    ("dualrec_tokens", "in"): 100 + 50,
    ("dualrec_tokens", "out"): 20 + 5,
    ("dualrec_titles", "exact"): 2,
    ("dualrec_titles", "fuzzy"): 1,
    ("dualrec_titles", "none"): 1,
    ("dualrec_titles_repeated",): 1,
    ("dualrec_titles_watched",): 1,
    ("dualrec_errors", "HTTP 400"): 1,
    ("dualrec_engine_seconds",): 2.5,
}


def test_everything_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dualrec.cluster.metrics.Counter", _Counter)
    SUMS.clear()
    ScoringMetrics().record(TRACES_TABLE)
    EngineMetrics().busy(2.5)
    assert SUMS == EXPECTED


@ray.remote(num_cpus=0)
class _Actor:
    """Records some metrics, and lives on as actors of jobs do."""

    def record(self) -> None:
        self.metrics = (ScoringMetrics(), EngineMetrics(), TrainingMetrics("a training"))
        scoring, engine, training = self.metrics
        scoring.record(TRACES_TABLE)
        engine.busy(2.5)
        epoch = {"epoch": 3, "train_loss": 1.5, "validation_loss": 2.0, "targets_per_second": 10.0}
        training.record(epoch, rate="targets_per_second")


@pytest.mark.ray
def test_what_is_recorded_is_scraped(ray_cluster: None) -> None:
    def is_there(found: Samples) -> bool:
        return ("dualrec_training_rate", "a training") in found and (
            "dualrec_engine_seconds_total",
        ) in found

    actor = _Actor.remote()  # type: ignore[attr-defined]
    ray.get(actor.record.remote())
    found = scraped_until(is_there)
    assert found["dualrec_training_rate", "a training"] == 10
    assert found["dualrec_training_epoch", "a training"] == 3
    assert found["dualrec_training_loss", "a training", "train"] == 1.5
    assert found["dualrec_training_loss", "a training", "validation"] == 2.0
    # Other actors of the session may have recorded more; Ray gives the counters' names an ending.
    for (name, *tags), value in EXPECTED.items():
        assert found[(f"{name}_total", *tags)] >= value


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("HTTP 503: busy", "HTTP 503"),
        ("ValueError: prompt of 7312 tokens", "ValueError"),
        ("TimeoutError", "TimeoutError"),
        ("the request of user 17 failed: why", OTHER),
        ("x" * 200, OTHER),
        ("", OTHER),
    ],
)
def test_a_kind_is_a_short_name_that_many_errors_share(error: str, kind: str) -> None:
    assert error_kind(error) == kind
