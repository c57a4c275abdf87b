from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dualrec.config.settings import Settings, load_settings
from dualrec.errors import InputError
from dualrec.language.example_counts import (
    check_example_counts,
    history_lengths,
    training_examples,
    validation_examples,
)
from dualrec.language.examples import AHEAD, published_cuts, several_cuts, validation_cuts
from dualrec.storage.workspace import Workspace
from tests.conftest import histories_table
from tests.prepared import write_prepared

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
    cuts = several_cuts(of_split["train"], titles, AHEAD, per_user, seed=0)
    assert training_examples(LENGTHS, load_settings(None, own)).sum() == len(cuts)
    published = published_cuts(of_split["train"], titles, seed=0)
    assert training_examples(
        LENGTHS, load_settings(None, [*own, "finetune.examples=published"])
    ).sum() == len(published)
    validation = validation_cuts(of_split["validation"], titles, AHEAD, seed=0)
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
