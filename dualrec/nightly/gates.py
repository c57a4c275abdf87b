"""What a night must hold to be published. Plain functions on what was measured; knows no files and
no Ray."""

from dataclasses import dataclass
from typing import NamedTuple

from dualrec.config.settings import GateSettings

LEAST = 20  # scored users from which on rates say something


@dataclass(frozen=True)
class Measured:
    """A night before it is published.

    Attributes:
        users: how many it serves; `users_before`: the night before, None where there is none.
        scored: how many of them were scored now, and on how many of those the language model failed
            (`errors`).
        titles: how many it wrote, and how many of those were tied to an item (`resolved`).
        overlap: of the movies in the lists of the night before, the share still in the lists of the
            users scored now;
            None where none of these was served before.
        accuracy: NDCG@10 of the lists on validation users; `accuracy_before`: under the models of
            the night before.
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
    """A judgement. `passed` is None where there was nothing to judge by; `why` says so."""

    name: str
    value: float | None
    limit: float | None
    passed: bool | None
    why: str

    def judged(self) -> str:
        """What was judged by what limit, for a person."""
        if self.value is None or self.limit is None:
            return f"not judged: {self.why}"
        return f"{self.value:.3f}, {self.why} {self.limit:g}"

    def line(self) -> str:
        """The same, and how it ended."""
        ended = "" if self.passed is None else ": passed" if self.passed else ": FAILED"
        return self.judged() + ended


def judge(night: Measured, gates: GateSettings) -> list[Gate]:
    """Judge a night by every gate."""
    few = None if night.scored >= LEAST else f"{night.scored} scored users are too few"
    no_titles = few or (None if night.titles else "the language model wrote no titles")
    none_before = None if night.users_before else "no night before"
    not_served = few or (
        None if night.overlap is not None else "none of the scored users was served before"
    )
    no_accuracy = (
        None
        if night.accuracy is not None and night.accuracy_before
        else "no accuracy of two sets of models"
    )
    lost = _share(night.accuracy_before, night.accuracy) if no_accuracy is None else 0.0
    return [
        _least("users", night.users / (night.users_before or 1), gates.min_users, none_before),
        _most("error rate", night.errors / max(night.scored, 1), gates.max_error_rate, few),
        _least(
            "titles resolved",
            night.resolved / max(night.titles, 1),
            gates.min_titles_resolved,
            no_titles,
        ),
        _least("overlap", night.overlap or 0.0, gates.min_overlap, not_served),
        _most("metric drop", lost, gates.max_metric_drop, no_accuracy),
    ]


def _share(before: float | None, now: float | None) -> float:
    """How much of the value before was lost."""
    assert before and now is not None
    return max(1 - now / before, 0.0)


def _least(name: str, value: float, limit: float | None, unjudged: str | None) -> Gate:
    return _gate(name, value, limit, unjudged, limit is None or value >= limit, "at least")


def _most(name: str, value: float, limit: float | None, unjudged: str | None) -> Gate:
    return _gate(name, value, limit, unjudged, limit is None or value <= limit, "at most")


def _gate(
    name: str, value: float, limit: float | None, unjudged: str | None, passed: bool, bound: str
) -> Gate:
    if limit is None or unjudged is not None:
        return Gate(name, None, limit, None, unjudged or "switched off")
    return Gate(name, value, limit, passed, bound)
