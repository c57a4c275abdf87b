"""Metrics of running jobs for Prometheus, through Ray: each node's metrics port exports them as
`ray_dualrec_NAME`.

Figures of a finished night are written by nightly/prometheus.py: its processes end before they are
scraped.
"""

import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from ray.util.metrics import Counter, Gauge

_KIND = re.compile(r"[A-Za-z_]\w{0,39}(?: \d{3})?(?=:|$)")
OTHER = "other"


class ScoringMetrics:
    """Counters of one actor that finishes traces; Prometheus adds those of all actors up."""

    def __init__(self) -> None:
        self.users = Counter("dualrec_users_scored", description="Requests that got a trace.")
        self.tokens = Counter(
            "dualrec_tokens", description="Tokens of prompts and answers.", tag_keys=("direction",)
        )
        self.titles = Counter(
            "dualrec_titles",
            description="Titles written, by how they were tied to items.",
            tag_keys=("match",),
        )
        self.repeated = Counter(
            "dualrec_titles_repeated", description="Titles that an answer held already."
        )
        self.watched = Counter(
            "dualrec_titles_watched", description="Titles of movies already in the history."
        )
        self.errors = Counter(
            "dualrec_errors",
            description="Users on whom the language model failed, by kind.",
            tag_keys=("kind",),
        )

    def record(self, traces: pa.Table) -> None:
        """Count some finished traces, of schema TRACES."""
        columns = (
            "item_ids",
            "prompt_tokens",
            "generated_tokens",
            "error",
            "title_item_ids",
            "title_matches",
        )
        for row in traces.select(columns).to_pylist():
            self._record(row)

    def _record(self, row: Mapping[str, Any]) -> None:
        self.users.inc()
        for direction, name in (("in", "prompt_tokens"), ("out", "generated_tokens")):
            if row[name]:
                self.tokens.inc(row[name], {"direction": direction})
        for match in row["title_matches"]:
            self.titles.inc(1, {"match": match})
        known = [item for item in row["title_item_ids"] if item is not None]
        if repeated := len(known) - len(set(known)):
            self.repeated.inc(repeated)
        if watched := len(set(known) & set(row["item_ids"])):
            self.watched.inc(watched)
        if row["error"]:
            self.errors.inc(1, {"kind": error_kind(row["error"])})


def error_kind(error: str) -> str:
    """Return the beginning of an error's message, up to its colon, as in "HTTP 400"; OTHER where it
    is no short name.

    A label of Prometheus must have few values: messages hold what differs from row to row.
    """
    match = _KIND.match(error)
    return match[0] if match else OTHER


class EngineMetrics:
    """Seconds in which engines were busy, recorded by the one actor that counts none twice."""

    def __init__(self) -> None:
        self.seconds = Counter(
            "dualrec_engine_seconds", description="Seconds in which there were rows in the engines."
        )

    def busy(self, seconds: float) -> None:
        """Add seconds."""
        if seconds > 0:
            self.seconds.inc(seconds)


class TrainingMetrics:
    """Progress of a training, recorded by its first worker.

    Args:
        job: train-sequence or finetune-language.
    """

    def __init__(self, job: str) -> None:
        self.epoch = Gauge(
            "dualrec_training_epoch", description="The last finished epoch.", tag_keys=("job",)
        )
        self.loss = Gauge(
            "dualrec_training_loss", description="Nats a target.", tag_keys=("job", "split")
        )
        self.rate = Gauge(
            "dualrec_training_rate",
            description="Targets, or examples, a second over all workers.",
            tag_keys=("job",),
        )
        self.job = job

    def record(self, metrics: Mapping[str, float], rate: str) -> None:
        """Record a finished epoch; `rate` names the metric that is its throughput."""
        self.epoch.set(metrics["epoch"], {"job": self.job})
        self.rate.set(metrics[rate], {"job": self.job})
        for split in ("train", "validation"):
            self.loss.set(metrics[f"{split}_loss"], {"job": self.job, "split": split})
