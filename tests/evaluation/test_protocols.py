import numpy as np
import pyarrow as pa

from dualrec.evaluation.protocols import (
    Cases,
    candidate_sets,
    cut_cases,
    moment_of,
    sampled,
    time_cases,
    with_candidates,
)
from tests.conftest import histories_table

ITEM_IDS = np.array([10, 20, 30, 40, 50, 60])


def _lists(parts: list[np.ndarray]) -> list[list[int]]:
    return [numbers.tolist() for numbers in parts]


def test_the_last_movies_are_hidden_and_items_are_numbers_of_the_catalog() -> None:
    histories = histories_table({7: [10, 30, 20], 3: [60, 50], 9: [10], 1: []})
    cases = cut_cases(histories, ITEM_IDS, "next_item")
    assert cases.user_ids.tolist() == [3, 7]
    assert _lists(cases.visible) == [[6], [1, 3]]
    assert _lists(cases.truth) == [[5], [2]]


def test_five_are_hidden_oldest_first_and_one_must_be_left() -> None:
    histories = histories_table({1: [10, 20, 30, 40, 50, 60], 2: [10, 20, 30, 40, 50]})
    cases = cut_cases(histories, ITEM_IDS, "last_five")
    assert (_lists(cases.visible), _lists(cases.truth)) == ([[1]], [[2, 3, 4, 5, 6]])


def test_candidates_are_the_hidden_movie_and_unwatched_others_in_random_order() -> None:
    cases = Cases(np.arange(400), [np.array([1, 2])] * 400, [np.array([3])] * 400)
    sets = candidate_sets(cases, 40, seed=0)
    assert sets.shape == (400, 20)
    assert all(len(set(row)) == 20 and 3 in row and not {1, 2} & set(row) for row in sets.tolist())
    places = (sets == 3).argmax(1)
    assert abs(places.mean() - 9.5) < 1.0, "the place must not give the answer away"
    assert (candidate_sets(cases, 40, seed=0) == sets).all()
    assert (with_candidates(cases, 40, range(2)).candidates[1] != sets).any()


def test_a_small_catalog_gives_fewer_candidates() -> None:
    cases = Cases(np.array([1]), [np.array([1])], [np.array([2])])
    assert sorted(candidate_sets(cases, 4, seed=0)[0].tolist()) == [0] * 17 + [2, 3, 4]


def test_the_time_split_tells_cold_users_and_cold_items_apart() -> None:
    whole = pa.concat_tables(
        [histories_table({1: [10, 20, 30], 2: [40, 50], 3: [60, 10, 99], 4: [10], 5: [99]})]
    )
    times = [[1, 2, 9], [8, 9], [1, 8, 9], [1], [9]]
    whole = whole.set_column(2, "timestamps", pa.array(times))
    before = histories_table({1: [10, 20], 2: [], 3: [60], 4: [10], 5: []})
    split = time_cases(before, whole, ITEM_IDS, moment=8)
    assert split.warm.user_ids.tolist() == [1, 3]
    assert (_lists(split.warm.visible), _lists(split.warm.truth)) == ([[1, 2], [6]], [[3], [1]])
    assert split.cold.user_ids.tolist() == [2]
    assert _lists(split.cold.truth) == [[4, 5]]
    assert split.cold_items == 2 / 6
    assert split.only_cold_items == 1


def test_the_moment_begins_a_day_before_which_the_share_happened() -> None:
    day = 86_400
    times = [day * n + 5 for n in range(101)]
    histories = histories_table({1: list(range(101))}).set_column(
        2, "timestamps", pa.array([times])
    )
    assert moment_of(histories, 0.9) == 90 * day


def test_a_sample_of_users_is_seeded_and_keeps_their_rows_together() -> None:
    cases = Cases(
        np.arange(50),
        [np.array([user]) for user in range(50)],
        [np.array([user]) for user in range(50)],
    )
    few = sampled(cases, 10, seed=1)
    assert len(few) == 10 and few.user_ids.tolist() == sorted(few.user_ids.tolist())
    assert (
        few.user_ids.tolist()
        == [int(one[0]) for one in few.visible]
        == [int(one[0]) for one in few.truth]
    )
    assert sampled(cases, 10, seed=1).user_ids.tolist() == few.user_ids.tolist()
    assert sampled(cases, 0, seed=1) is cases
