"""What jobs tell Prometheus while they run, scraped from Ray's own port as Prometheus would."""

import pyarrow as pa
import pytest
import ray

from dualrec.live_metrics import OTHER, EngineMetrics, ScoringMetrics, TrainingMetrics, kind_of
from dualrec.schemas import TRACES
from tests.scraping import Samples, scraped_until


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


# What telling the above once adds to counters that all actors of the session share.
COUNTED = {
    ("dualrec_users_scored_total",): 3.0,
    ("dualrec_tokens_total", "in"): 100.0 + 50.0,
    ("dualrec_tokens_total", "out"): 20.0 + 5.0,
    ("dualrec_titles_total", "exact"): 2.0,
    ("dualrec_titles_total", "fuzzy"): 1.0,
    ("dualrec_titles_total", "none"): 1.0,
    ("dualrec_titles_repeated_total",): 1.0,
    ("dualrec_titles_watched_total",): 1.0,
    ("dualrec_errors_total", "HTTP 400"): 1.0,
    ("dualrec_engine_seconds_total",): 2.5,
}


@ray.remote(num_cpus=0)
class _Actor:
    """Tells some metrics, and lives on as actors of jobs do."""

    def __init__(self) -> None:
        self.metrics = (ScoringMetrics(), EngineMetrics(), TrainingMetrics("a training"))

    def tell(self, epoch: int) -> None:
        scoring, engine, training = self.metrics
        scoring.told(TOLD)
        engine.busy(2.5)
        metrics = {"epoch": epoch, "train_loss": 1.5, "validation_loss": 2.0, "targets_per_second": 10.0}
        training.told(metrics, rate="targets_per_second")


@pytest.mark.ray
def test_what_is_told_is_scraped(ray_cluster: None) -> None:
    actor = _Actor.remote()  # type: ignore[attr-defined]
    epoch = ("dualrec_training_epoch", "a training")
    ray.get(actor.tell.remote(1))
    scraped_until(lambda found: found.get(epoch) == 1)
    # A look later all of that is there, and so is whatever actors of earlier tests told before they ended.
    before = scraped_until(lambda found: epoch in found)

    def grown(found: Samples) -> dict[tuple[str, ...], float]:
        return {name: found.get(name, 0.0) - before.get(name, 0.0) for name in COUNTED}

    ray.get(actor.tell.remote(2))
    found = scraped_until(
        lambda found: found.get(epoch) == 2 and all(grown(found)[name] >= value for name, value in COUNTED.items())
    )
    assert grown(found) == pytest.approx(COUNTED)
    assert found["dualrec_training_rate", "a training"] == 10
    assert found[epoch] == 2, "the last epoch that was told"
    assert found["dualrec_training_loss", "a training", "train"] == 1.5
    assert found["dualrec_training_loss", "a training", "validation"] == 2.0


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
