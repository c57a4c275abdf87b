"""What a system answers to the cases of a protocol: lists, and scores of candidates where only
those are ranked."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dualrec.baselines.baseline import USERS_PER_BATCH, Scorer, mask_watched, top_item_numbers
from dualrec.data.catalog import numbers_among
from dualrec.evaluation.metrics import LENGTH, ItemFacts, user_metrics
from dualrec.evaluation.protocols import Cases

UserMetrics = dict[str, np.ndarray]  # metric to float64 (n,)


@dataclass(frozen=True)
class Answers:
    """One system's answers to the cases of one protocol.

    Attributes:
        lists: int32 (n, LENGTH) of the whole catalog without what was watched, as metrics.py reads
            them.
        candidate_scores: float32 (seeds, n, 20), higher is better; None where the protocol has no
            candidates.
        seconds_per_user: what answering took.
    """

    lists: np.ndarray
    candidate_scores: np.ndarray | None = None
    seconds_per_user: float | None = None


def answers_of(scorer: Scorer, cases: Cases) -> Answers:
    """Score the whole catalog for every case, in batches of bounded memory."""
    started = time.perf_counter()
    lists = [np.zeros((0, LENGTH), np.int32)]
    of_candidates = []
    for start in range(0, len(cases), USERS_PER_BATCH):
        visible = cases.visible[start : start + USERS_PER_BATCH]
        scores = scorer(visible)
        if cases.candidates is not None:
            of_candidates.append(
                _scores_of(scores, cases.candidates[:, start : start + USERS_PER_BATCH])
            )
        lists.append(top_item_numbers(mask_watched(scores, visible), LENGTH))
    seconds = (time.perf_counter() - started) / max(len(cases), 1)
    return Answers(
        np.concatenate(lists),
        np.concatenate(of_candidates, axis=1) if of_candidates else None,
        seconds,
    )


def listed_first(lists: np.ndarray, rest: np.ndarray | None, cases: Cases) -> Answers:
    """Answers of a system that gives lists: candidates in the order of the list, the others behind
    in that of `rest`.

    Args:
        lists: int32 (n, LENGTH).
        rest: another system's candidate scores.
    """
    if cases.candidates is None or rest is None:
        return Answers(lists)
    places = np.argsort(np.argsort(-rest, axis=2, kind="stable"), axis=2, kind="stable")
    scores = -places.astype(np.float32)
    for seed, candidates in enumerate(cases.candidates):
        same = (candidates[:, :, None] == lists[:, None, :]) & (candidates[:, :, None] > 0)
        listed, place = same.any(2), same.argmax(2)
        scores[seed] = np.where(listed, 2 * LENGTH - place, scores[seed])
    return Answers(lists, scores)


def metrics_of(answers: Answers, cases: Cases, facts: ItemFacts) -> UserMetrics:
    """The metrics of every user; where several sets of candidates were ranked, their means."""
    if cases.candidates is None:
        return user_metrics(answers.lists, cases.truth, cases.visible, facts)
    assert answers.candidate_scores is not None, "a protocol with candidates needs their scores"
    ranked = ranked_candidates(answers.candidate_scores, cases.candidates)
    each = [user_metrics(lists, cases.truth, cases.visible, facts) for lists in ranked]
    return {name: np.mean([metrics[name] for metrics in each], axis=0) for name in each[0]}


def ranked_candidates(scores: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Candidates by falling score, int32 (seeds, n, LENGTH); of equal ones, those that stand first
    among the candidates."""
    order = np.argsort(np.where(candidates > 0, -scores, np.inf), axis=2, kind="stable")
    return np.take_along_axis(candidates, order, axis=2)[:, :, :LENGTH]


def numbers_of_lists(lists: Sequence[Sequence[int | None]], item_ids: np.ndarray) -> np.ndarray:
    """Lists of item ids as int32 (n, LENGTH) of item numbers; -1 for None, a title in no catalog."""
    numbers = np.zeros((len(lists), LENGTH), np.int32)
    for row, items in enumerate(lists):
        some = items[:LENGTH]
        known = np.array([-1 if item is None else item for item in some], np.int64)
        numbers[row, : len(some)] = numbers_among(item_ids, known)
    return numbers


def _scores_of(scores: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    columns = np.maximum(candidates.astype(np.int64) - 1, 0)
    return np.stack([np.take_along_axis(scores, one, axis=1) for one in columns])
