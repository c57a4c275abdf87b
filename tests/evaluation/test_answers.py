import numpy as np
import pytest

from dualrec.evaluation.answers import (
    answers_of,
    listed_first,
    metrics_of,
    numbers_of_lists,
    ranked_candidates,
)
from dualrec.evaluation.metrics import LENGTH, ItemFacts
from dualrec.evaluation.protocols import Cases, with_candidates

ITEMS = 40
FACTS = ItemFacts(np.zeros((ITEMS + 1, 1), np.float32), np.full(ITEMS + 1, 0.5))


def _next_by_one(histories) -> np.ndarray:
    """The item after the last one scores best, the one after that next."""
    last = np.array([numbers[-1] for numbers in histories])
    return -((np.arange(1, ITEMS + 1)[None, :] - last[:, None] - 1) % ITEMS).astype(np.float32)


def _cases(users: int = 30) -> Cases:
    visible = [np.array([user % ITEMS + 1]) for user in range(users)]
    return Cases(np.arange(users), visible, [numbers % ITEMS + 1 for numbers in visible])


def test_a_system_that_knows_the_rule_is_always_right_and_recommends_nothing_watched() -> None:
    cases = _cases()
    answers = answers_of(_next_by_one, cases)
    assert metrics_of(answers, cases, FACTS)["HR@1"].mean() == 1.0
    assert not any(
        np.isin(row, seen).any() for row, seen in zip(answers.lists, cases.visible, strict=True)
    )


def test_among_candidates_the_rule_wins_and_guessing_hits_one_in_twenty(
    random: np.random.Generator,
) -> None:
    cases = with_candidates(_cases(300), ITEMS, range(5))
    known = metrics_of(answers_of(_next_by_one, cases), cases, FACTS)
    assert known["HR@1"].mean() == 1.0
    guessed = metrics_of(
        answers_of(lambda some: random.random((len(some), ITEMS)), cases), cases, FACTS
    )
    assert guessed["HR@1"].mean() == pytest.approx(1 / 20, abs=0.02)
    assert guessed["HR@5"].mean() == pytest.approx(5 / 20, abs=0.04)


def test_a_system_whose_scores_are_all_equal_is_worth_a_guess() -> None:
    cases = with_candidates(_cases(300), ITEMS, range(5))
    metrics = metrics_of(
        answers_of(lambda some: np.zeros((len(some), ITEMS), np.float32), cases), cases, FACTS
    )
    assert metrics["HR@1"].mean() == pytest.approx(1 / 20, abs=0.02)


def test_listed_candidates_come_first_and_the_others_follow_the_other_system() -> None:
    cases = Cases(
        np.array([1]), [np.array([9])], [np.array([3])], np.array([[[1, 2, 3, 4, 0]]], np.int32)
    )
    lists = numbers_of_lists([[4, None, 2]], np.arange(1, ITEMS + 1))
    rest = np.array([[[0.1, 0.9, 0.3, 0.2, 9.0]]], np.float32)
    answers = listed_first(lists, rest, cases)
    assert answers.candidate_scores is not None and cases.candidates is not None
    assert ranked_candidates(answers.candidate_scores, cases.candidates)[0, 0].tolist() == [
        4,
        2,
        3,
        1,
        0,
    ]


def test_lists_of_ids_become_numbers_and_unknown_titles_keep_their_place() -> None:
    numbers = numbers_of_lists([[20, None, 10], []], np.array([10, 20]))
    assert numbers.shape == (2, LENGTH)
    assert numbers[0, :4].tolist() == [2, -1, 1, 0] and not numbers[1].any()
