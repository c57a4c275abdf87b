import numpy as np
import pytest

from dualrec.baselines import baseline
from dualrec.baselines.baseline import (
    mask_watched,
    next_item_ndcg,
    top_item_numbers,
    top_unwatched_items,
)


def test_the_best_items_come_first_and_hidden_or_undefined_ones_never() -> None:
    scores = np.array([[0.1, 0.9, np.nan, 0.5], [-np.inf, -np.inf, -np.inf, 1.0]], np.float32)
    assert top_item_numbers(
        mask_watched(scores, [np.array([2]), np.zeros(0, np.int64)]), 3
    ).tolist() == [
        [4, 1, 0],
        [4, 0, 0],
    ]


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    histories = [np.array([user % 7 + 1]) for user in range(50)]
    scorer = lambda some: np.array([np.roll(np.arange(9.0), one[0]) for one in some], np.float32)  # noqa: E731
    whole = top_unwatched_items(scorer, histories, 5)
    monkeypatch.setattr(baseline, "USERS_PER_BATCH", 7)
    assert (top_unwatched_items(scorer, histories, 5) == whole).all()
    assert top_unwatched_items(scorer, [], 5).shape == (0, 5)


def test_the_last_item_is_asked_for_and_what_was_watched_is_left_out() -> None:
    histories = [np.array([1, 2, 3]), np.array([5]), np.zeros(0, np.int64)]
    favourite = lambda some: np.tile(np.array([9, 8, 7, 6, 5], np.float32), (len(some), 1))  # noqa: E731
    assert next_item_ndcg(favourite, histories, 1) == 1.0, (
        "items 1 and 2 are watched, so 3 is first"
    )
    assert next_item_ndcg(favourite, [np.array([1, 3])], 1) == pytest.approx(1 / np.log2(3))


def test_the_last_items_are_asked_for_each_from_all_before_it() -> None:
    asked: list[list[int]] = []

    def score(some: list[np.ndarray]) -> np.ndarray:
        asked.extend(one.tolist() for one in some)
        return np.tile(np.array([9, 8, 7, 6, 5], np.float32), (len(some), 1))

    found = next_item_ndcg(score, [np.array([2, 1, 3, 5]), np.array([4, 1])], 2)
    assert asked == [[2, 1], [2, 1, 3], [4]]
    assert found == pytest.approx((1 + 1 / np.log2(3) + 1) / 3), (
        "item 3 is first, 5 second after 4, and 1 first"
    )
