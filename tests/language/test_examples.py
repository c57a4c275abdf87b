import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from dualrec.language.examples import (
    AHEAD,
    EXAMPLES,
    fold_of,
    most_expected,
    of_fold,
    published_cuts,
    several_cuts,
    soonest_candidate,
    validation_cuts,
    with_an_answer,
)
from tests.conftest import histories_table


def _shown(examples: pa.Table) -> set[int]:
    """Every movie that an example holds."""
    return {
        item
        for name in ("item_ids", "next_ids")
        for item in pc.list_flatten(examples.column(name)).to_pylist()
    }


def test_each_cut_is_followed_by_its_answer_in_order() -> None:
    examples = several_cuts(
        histories_table({1: list(range(100, 112))}), titles=3, ahead=AHEAD, per_user=4, seed=0
    )
    assert examples.schema == EXAMPLES
    rows = examples.to_pylist()
    assert len(rows) == len({len(row["item_ids"]) for row in rows}) == 4
    for row in rows:
        cut = len(row["item_ids"])
        assert row["item_ids"] == list(range(100, 100 + cut))
        assert row["next_ids"] == list(range(100 + cut, 112))[:AHEAD] and len(row["next_ids"]) >= 3


def test_a_short_history_gives_the_cuts_there_are() -> None:
    histories = histories_table({1: [1, 2, 3], 2: [1, 2, 3, 4], 3: [1, 2, 3, 4, 5], 4: []})
    assert several_cuts(histories, 3, AHEAD, 4, 0).column("user_id").to_pylist() == [2, 3, 3]


def test_cuts_stay_when_other_users_come() -> None:
    one = histories_table({7: list(range(40))})
    many = histories_table({5: list(range(30)), 7: list(range(40)), -3: list(range(20))})
    alone = several_cuts(one, 3, AHEAD, 4, 0)
    among = several_cuts(many, 3, AHEAD, 4, 0)
    assert among.filter(pc.equal(among.column("user_id"), 7)) == alone
    assert several_cuts(one, 3, AHEAD, 4, 1) != alone


def test_as_published_three_of_the_last_five_answer_for_what_is_earlier() -> None:
    examples = published_cuts(
        histories_table({1: [1, 2, 3, 4, 5, 6, 7], 2: [1, 2, 3, 4, 5]}), titles=3, seed=0
    )
    (row,) = examples.to_pylist()
    assert (row["item_ids"], row["next_ids"]) == ([1, 2], [3, 4, 5])


def test_no_held_out_movie_reaches_an_example() -> None:
    marker = 999
    ordinary = list(range(1, 20))
    training = histories_table({1: ordinary})
    for held_out_place in range(1, 6):
        hidden = [
            *ordinary[:-held_out_place],
            marker,
            *ordinary[len(ordinary) - held_out_place + 1 :],
        ]
        assert len(hidden) == len(ordinary)
        validation = histories_table({2: hidden}, split="validation")
        test = histories_table({3: hidden}, split="test")
        for titles in (1, 3, 5):
            made = [
                several_cuts(training, titles, max(titles, AHEAD), 100, 0),
                published_cuts(training, titles, 0),
                validation_cuts(validation, titles, max(titles, AHEAD), 0),
            ]
            assert marker not in _shown(pa.concat_tables(made))
        for maker in (
            lambda rows: several_cuts(rows, 3, AHEAD, 4, 0),
            lambda rows: published_cuts(rows, 3, 0),
        ):
            for others in (validation, test):
                with pytest.raises(AssertionError, match="outside train"):
                    maker(others)
        with pytest.raises(AssertionError, match="outside validation"):
            validation_cuts(test, 3, 5, 0)


def test_a_validation_example_ends_where_the_first_held_out_movie_begins() -> None:
    histories = histories_table({1: list(range(1, 13)), 2: list(range(1, 9))}, split="validation")
    (row,) = validation_cuts(histories, titles=3, ahead=3, seed=0).to_pylist()
    assert (row["item_ids"], row["next_ids"]) == ([1, 2, 3, 4], [5, 6, 7])
    (row,) = validation_cuts(histories, titles=3, ahead=5, seed=0).to_pylist()
    assert (row["item_ids"], row["next_ids"]) == ([1, 2], [3, 4, 5, 6, 7])


def test_a_short_validation_history_is_followed_by_what_there_is() -> None:
    (row,) = validation_cuts(
        histories_table({1: list(range(1, 10))}, "validation"), 3, 5, seed=0
    ).to_pylist()
    assert (row["item_ids"], row["next_ids"]) == ([1], [2, 3, 4])


def test_an_answer_is_of_the_most_expected_of_the_next_movies_best_first() -> None:
    assert most_expected([1, 2, 3, 4, 5], [0.1, 0.4, 0.0, 0.3, 0.2], titles=3) == [2, 4, 5]
    assert most_expected([1, 2, 3], [0.2, 0.2, 0.2], titles=3) == [1, 2, 3], (
        "equally expected ones stay in order"
    )
    assert most_expected([7], [0.9], titles=3) == [7]


def test_every_training_user_is_in_one_fold_and_the_folds_are_halves() -> None:
    users = np.arange(-500, 500)
    folds = fold_of(users, seed=0)
    assert set(folds) == {0, 1} and 400 < int(folds.sum()) < 600
    histories = histories_table({int(user): [1] for user in users})
    parts = [of_fold(histories, fold, 0).column("user_id").to_pylist() for fold in (0, 1)]
    assert sorted(parts[0] + parts[1]) == users.tolist()


def test_order_is_a_shuffle_that_follows_the_seed() -> None:
    histories = histories_table({user: list(range(10)) for user in range(50)})
    order = {
        seed: several_cuts(histories, 3, AHEAD, 4, seed).column("order").to_pylist()
        for seed in (0, 1)
    }
    assert len(set(order[0])) == 200
    assert order[0] != sorted(order[0]) and order[0] != order[1]


def test_the_candidate_to_rank_first_is_the_one_that_is_watched_soonest() -> None:
    assert soonest_candidate([7, 4, 5], candidates=[5, 9, 4]) == 2
    assert soonest_candidate([7, 8], candidates=[5, 9, 4]) is None


def test_examples_without_an_answer_among_their_candidates_are_left_out() -> None:
    examples = several_cuts(
        histories_table({1: [1, 2, 3, 4, 5]}), titles=1, ahead=2, per_user=4, seed=0
    )
    candidates = pa.array([[5], [5], [5], [5]], pa.list_(pa.int64()))
    kept = with_an_answer(examples.append_column("sequence_item_ids", candidates))
    assert kept.column("next_ids").to_pylist() == [[4, 5], [5]]
    assert with_an_answer(kept.slice(0, 0)).num_rows == 0
