"""What jobs tell Prometheus while they run, scraped from Ray's own port as Prometheus would."""

import pyarrow as pa
import pytest
import ray

from dualrec.live_metrics import OTHER, EngineMetrics, ScoringMetrics, TrainingMetrics, kind_of
from dualrec.schemas import TRACES
from tests.scraping import scraped_until


def _trace(**given: object) -> dict[str, object]:
    return {"item_ids": [], "titles": [], "title_item_ids": [], "title_matches": [], **given}


TOLD = pa.Table.from_pylist(
    [
        _trace(
            item_ids=[1, 2], titles=["a", "b", "c"], title_item_ids=[2, 3, 3], title_matches=["exact", "fuzzy", "exact"],
            prompt_tokens=100, generated_tokens=20,
        ),
        _trace(titles=["d"], title_item_ids=[None], title_matches=["none"], prompt_tokens=50, generated_tokens=5),
        _trace(error="HTTP 400: a fault"),
    ],
    schema=TRACES,
)  # fmt: skip


@ray.remote(num_cpus=0)
class _Actor:
    """Tells some metrics, and lives on as actors of jobs do."""

    def tell(self) -> None:
        self.metrics = (ScoringMetrics(), EngineMetrics(), TrainingMetrics("a training"))
        scoring, engine, training = self.metrics
        scoring.told(TOLD)
        engine.busy(2.5)
        epoch = {"epoch": 3, "train_loss": 1.5, "validation_loss": 2.0, "targets_per_second": 10.0}
        training.told(epoch, rate="targets_per_second")


@pytest.mark.ray
def test_what_is_told_is_scraped(ray_cluster: None) -> None:
    def own() -> dict[tuple[str, ...], float]:
        return scraped_until(lambda found: ("dualrec_training_rate", "a training") in found)

    actor = _Actor.remote()  # type: ignore[attr-defined]
    ray.get(actor.tell.remote())
    found = own()
    assert found["dualrec_training_rate", "a training"] == 10
    assert found["dualrec_training_epoch", "a training"] == 3
    assert found["dualrec_training_loss", "a training", "train"] == 1.5
    assert found["dualrec_training_loss", "a training", "validation"] == 2.0
    # Other actors of the session may have told more.
    assert found["dualrec_users_scored_total",] >= 3
    assert found["dualrec_tokens_total", "in"] >= 150
    assert found["dualrec_tokens_total", "out"] >= 25
    assert [found["dualrec_titles_total", match] >= 1 for match in ("exact", "fuzzy", "none")] == [True] * 3
    assert found["dualrec_titles_repeated_total",] >= 1
    assert found["dualrec_titles_watched_total",] >= 1
    assert found["dualrec_errors_total", "HTTP 400"] >= 1
    assert found["dualrec_engine_seconds_total",] >= 2.5


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
    assert kind_of(error) == kind
