"""The gates that a snapshot must pass to be published. Plain functions on its metrics; knows no
files and no Ray."""

from dataclasses import dataclass
from typing import NamedTuple

from dualrec.config.settings import GateSettings

MIN_SCORED_USERS = 20  # rates of fewer are not judged


@dataclass(frozen=True)
class SnapshotMetrics:
    """Metrics of a snapshot that is not published yet.

    Attributes:
        users: how many it serves.
        users_before: how many the previous snapshot served; None where there is none.
        scored: how many of them were scored now.
        errors: on how many of those the language model failed.
        titles: how many titles it wrote.
        resolved: how many of those were tied to an item.
        overlap: of the movies in the previous lists of the users scored now, the share that is
            still in their lists; None where none of these users was served before.
        accuracy: NDCG@10 of the lists on validation users.
        accuracy_before: the same under the models of the previous snapshot.
    """

    users: int
    users_before: int | None
    scored: int
    errors: int
    titles: int
    resolved: int
    overlap: float | None
    accuracy: float | None
    accuracy_before: float | None


class Gate(NamedTuple):
    """The result of a gate.

    Attributes:
        passed: None where it could not be judged.
        why: the reason for that, else how value and limit are compared.
    """

    name: str
    value: float | None
    limit: float | None
    passed: bool | None
    why: str

    def describe(self) -> str:
        """Say what was judged by what limit, for a person."""
        if self.value is None or self.limit is None:
            return f"not judged: {self.why}"
        return f"{self.value:.3f}, {self.why} {self.limit:g}"


def judge_gates(snapshot: SnapshotMetrics, gates: GateSettings) -> list[Gate]:
    """Judge a snapshot by every gate."""
    # Why a gate cannot judge; None where it can.
    few: str | None = None
    titles: str | None = None
    overlap: str | None = None
    users: str | None = None
    accuracy: str | None = None
    if snapshot.scored < MIN_SCORED_USERS:
        few = titles = overlap = f"{snapshot.scored} scored users are too few"
    if not snapshot.titles:
        titles = few or "the language model wrote no titles"
    if snapshot.overlap is None:
        overlap = few or "none of the scored users was served before"
    if not snapshot.users_before:
        users = "no previous snapshot"
    drop = 0.0
    if snapshot.accuracy is None or not snapshot.accuracy_before:
        accuracy = "no accuracy of two sets of models"
    else:
        drop = max(1 - snapshot.accuracy / snapshot.accuracy_before, 0.0)
    users_share = snapshot.users / (snapshot.users_before or 1)
    error_rate = snapshot.errors / max(snapshot.scored, 1)
    resolved_share = snapshot.resolved / max(snapshot.titles, 1)
    return [
        _at_least("users", users_share, gates.min_users, users),
        _at_most("error rate", error_rate, gates.max_error_rate, few),
        _at_least("titles resolved", resolved_share, gates.min_titles_resolved, titles),
        _at_least("overlap", snapshot.overlap or 0.0, gates.min_overlap, overlap),
        _at_most("metric drop", drop, gates.max_metric_drop, accuracy),
    ]


def _at_least(name: str, value: float, limit: float | None, unjudged: str | None) -> Gate:
    if limit is None or unjudged is not None:
        return Gate(name, None, limit, None, unjudged or "switched off")
    return Gate(name, value, limit, value >= limit, "at least")


def _at_most(name: str, value: float, limit: float | None, unjudged: str | None) -> Gate:
    if limit is None or unjudged is not None:
        return Gate(name, None, limit, None, unjudged or "switched off")
    return Gate(name, value, limit, value <= limit, "at most")
