"""What jobs tell Prometheus while they run, through Ray: each node's metrics port shows it as
`ray_dualrec_NAME`.

What a finished night was is told by nightly/figures.py instead: its processes are gone before
anybody asks them.
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

    def told(self, traces: pa.Table) -> None:
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
            self._told(row)

    def _told(self, row: Mapping[str, Any]) -> None:
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
            self.errors.inc(1, {"kind": kind_of(row["error"])})


def kind_of(error: str) -> str:
    """What an error's message begins with, up to its colon, as in "HTTP 400"; OTHER where it begins
    with no short name.

    A label of Prometheus must have few values: messages hold what differs from row to row.
    """
    found = _KIND.match(error)
    return found[0] if found else OTHER


class EngineMetrics:
    """How long engines were busy; told by the one actor that knows what was told twice."""

    def __init__(self) -> None:
        self.seconds = Counter(
            "dualrec_engine_seconds", description="Seconds in which there were rows in the engines."
        )

    def busy(self, seconds: float) -> None:
        """Add some seconds."""
        if seconds > 0:
            self.seconds.inc(seconds)


class TrainingMetrics:
    """How a training goes, told by its first worker.

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

    def told(self, metrics: Mapping[str, float], rate: str) -> None:
        """Show a finished epoch; `rate` names the metric that is its throughput."""
        self.epoch.set(metrics["epoch"], {"job": self.job})
        self.rate.set(metrics[rate], {"job": self.job})
        for split in ("train", "validation"):
            self.loss.set(metrics[f"{split}_loss"], {"job": self.job, "split": split})
