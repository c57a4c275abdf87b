"""Examples of the right users alone, and their number before they are cut."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from dualrec.config.settings import Settings, load_settings
from dualrec.errors import InputError
from dualrec.language.examples import (
    EXAMPLES,
    FUTURE_TARGETS,
    answerable_examples,
    check_example_counts,
    first_watched_candidate,
    fold_of,
    history_lengths,
    likeliest_targets,
    of_fold,
    published_cuts,
    several_cuts,
    training_examples,
    validation_cuts,
    validation_examples,
)
from dualrec.storage.workspace import Workspace
from tests.conftest import histories_table
from tests.prepared import write_prepared


def _shown(examples: pa.Table) -> set[int]:
    """Every movie that an example holds."""
    return {
        item
        for name in ("item_ids", "next_ids")
        for item in pc.list_flatten(examples.column(name)).to_pylist()
    }


def test_each_cut_is_followed_by_its_answer_in_order() -> None:
    examples = several_cuts(
        histories_table({1: list(range(100, 112))}),
        titles=3,
        future_targets=FUTURE_TARGETS,
        per_user=4,
        seed=0,
    )
    assert examples.schema == EXAMPLES
    rows = examples.to_pylist()
    assert len(rows) == len({len(row["item_ids"]) for row in rows}) == 4
    for row in rows:
        cut = len(row["item_ids"])
        assert row["item_ids"] == list(range(100, 100 + cut))
        assert (
            row["next_ids"] == list(range(100 + cut, 112))[:FUTURE_TARGETS]
            and len(row["next_ids"]) >= 3
        )


def test_a_short_history_gives_the_cuts_there_are() -> None:
    histories = histories_table({1: [1, 2, 3], 2: [1, 2, 3, 4], 3: [1, 2, 3, 4, 5], 4: []})
    assert several_cuts(histories, 3, FUTURE_TARGETS, 4, 0).column("user_id").to_pylist() == [
        2,
        3,
        3,
    ]


def test_cuts_stay_when_other_users_come() -> None:
    one = histories_table({7: list(range(40))})
    many = histories_table({5: list(range(30)), 7: list(range(40)), -3: list(range(20))})
    alone = several_cuts(one, 3, FUTURE_TARGETS, 4, 0)
    among = several_cuts(many, 3, FUTURE_TARGETS, 4, 0)
    assert among.filter(pc.equal(among.column("user_id"), 7)) == alone
    assert several_cuts(one, 3, FUTURE_TARGETS, 4, 1) != alone


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
                several_cuts(training, titles, max(titles, FUTURE_TARGETS), 100, 0),
                published_cuts(training, titles, 0),
                validation_cuts(validation, titles, max(titles, FUTURE_TARGETS), 0),
            ]
            assert marker not in _shown(pa.concat_tables(made))
        for maker in (
            lambda rows: several_cuts(rows, 3, FUTURE_TARGETS, 4, 0),
            lambda rows: published_cuts(rows, 3, 0),
        ):
            for others in (validation, test):
                with pytest.raises(AssertionError, match="outside train"):
                    maker(others)
        with pytest.raises(AssertionError, match="outside validation"):
            validation_cuts(test, 3, 5, 0)


def test_a_validation_example_ends_where_the_first_held_out_movie_begins() -> None:
    histories = histories_table({1: list(range(1, 13)), 2: list(range(1, 9))}, split="validation")
    (row,) = validation_cuts(histories, titles=3, future_targets=3, seed=0).to_pylist()
    assert (row["item_ids"], row["next_ids"]) == ([1, 2, 3, 4], [5, 6, 7])
    (row,) = validation_cuts(histories, titles=3, future_targets=5, seed=0).to_pylist()
    assert (row["item_ids"], row["next_ids"]) == ([1, 2], [3, 4, 5, 6, 7])


def test_a_short_validation_history_is_followed_by_what_there_is() -> None:
    (row,) = validation_cuts(
        histories_table({1: list(range(1, 10))}, "validation"), 3, 5, seed=0
    ).to_pylist()
    assert (row["item_ids"], row["next_ids"]) == ([1], [2, 3, 4])


def test_an_answer_is_of_the_most_expected_of_the_next_movies_best_first() -> None:
    assert likeliest_targets([1, 2, 3, 4, 5], [0.1, 0.4, 0.0, 0.3, 0.2], titles=3) == [2, 4, 5]
    assert likeliest_targets([1, 2, 3], [0.2, 0.2, 0.2], titles=3) == [1, 2, 3], (
        "equally expected ones stay in order"
    )
    assert likeliest_targets([7], [0.9], titles=3) == [7]


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
        seed: several_cuts(histories, 3, FUTURE_TARGETS, 4, seed).column("order").to_pylist()
        for seed in (0, 1)
    }
    assert len(set(order[0])) == 200
    assert order[0] != sorted(order[0]) and order[0] != order[1]


def test_the_candidate_to_rank_first_is_the_one_that_is_watched_soonest() -> None:
    assert first_watched_candidate([7, 4, 5], candidates=[5, 9, 4]) == 2
    assert first_watched_candidate([7, 8], candidates=[5, 9, 4]) is None


def test_examples_without_an_answer_among_their_candidates_are_left_out() -> None:
    examples = several_cuts(
        histories_table({1: [1, 2, 3, 4, 5]}), titles=1, future_targets=2, per_user=4, seed=0
    )
    candidates = pa.array([[5], [5], [5], [5]], pa.list_(pa.int64()))
    kept = answerable_examples(examples.append_column("sequence_item_ids", candidates))
    assert kept.column("next_ids").to_pylist() == [[4, 5], [5]]
    assert answerable_examples(kept.slice(0, 0)).num_rows == 0


SettingsFor = Callable[..., Settings]
LENGTHS = np.arange(25)


@pytest.mark.parametrize("titles", [1, 3, 7])
@pytest.mark.parametrize("per_user", [1, 4, 30])
def test_lengths_alone_tell_how_many_examples_are_cut(titles: int, per_user: int) -> None:
    of_split = {
        split: histories_table({int(length): list(range(length)) for length in LENGTHS}, split)
        for split in ("train", "validation")
    }
    own = [f"language.titles={titles}", f"finetune.examples_per_user={per_user}"]
    cuts = several_cuts(of_split["train"], titles, FUTURE_TARGETS, per_user, seed=0)
    assert training_examples(LENGTHS, load_settings(None, own)).sum() == len(cuts)
    published = published_cuts(of_split["train"], titles, seed=0)
    assert training_examples(
        LENGTHS, load_settings(None, [*own, "finetune.examples=published"])
    ).sum() == len(published)
    validation = validation_cuts(of_split["validation"], titles, FUTURE_TARGETS, seed=0)
    assert validation_examples(LENGTHS, titles).sum() == len(validation)


def test_the_lengths_of_all_files_of_a_split_are_read(settings_for: SettingsFor) -> None:
    settings = settings_for()
    data = write_prepared(settings, {"train": [0, 3, 5, 30, 1], "validation": [9]})
    lengths = np.concatenate(list(history_lengths(Workspace(settings.workspace), data, "train")))
    assert sorted(lengths.tolist()) == [0, 1, 3, 5, 30]


def _check(settings: Settings, lengths: dict[str, list[int]]) -> None:
    check_example_counts(Workspace(settings.workspace), write_prepared(settings, lengths), settings)


def test_enough_examples_pass_and_one_too_few_is_counted(settings_for: SettingsFor) -> None:
    settings = settings_for("finetune.batch_size=8", "finetune.examples_per_user=4")
    _check(settings, {"train": [7, 7], "validation": [9]})
    with pytest.raises(
        InputError,
        match=r"there are 7 training examples, and one step takes 8: .*at least 4 movies",
    ):
        _check(settings, {"train": [7, 6, 3], "validation": [9]})


def test_a_sample_of_too_few_is_counted_as_such(settings_for: SettingsFor, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"there are 5 training examples.*finetune\.max_examples \(5\)"
    ):
        _check(
            settings_for("finetune.max_examples=5", "finetune.examples=published"),
            {"train": [9] * 40, "validation": [9]},
        )


def test_no_long_validation_history_is_an_error_that_says_how_long_one_should_be(
    settings_for: SettingsFor,
) -> None:
    with pytest.raises(
        InputError, match=r"no validation user has 9 movies.*data\.validation_fraction"
    ):
        _check(settings_for(), {"train": [9] * 40, "validation": [8, 8]})
