"""Whether a killed training resumed or began anew is told apart by its log."""

import pytest

from tests.killing import assert_resumed


def _log(*epochs: int) -> list[str]:
    lines = [f"epoch {epoch}/6: loss 1.000, validation loss 1.100" for epoch in epochs]
    return ["epoch 1/6: 40 of 80 targets, about 0.5 min left", *lines, "written"]


@pytest.mark.parametrize(
    "epochs", [(1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 4, 5, 6), (1, 2, 3, 4, 5, 4, 5, 6)]
)
def test_a_training_that_goes_on_from_its_last_checkpoint_resumed(epochs: tuple[int, ...]) -> None:
    assert_resumed(_log(*epochs), 6)


@pytest.mark.parametrize(
    "epochs",
    [
        (1, 2, 3, 1, 2, 3, 4, 5, 6),
        (1, 2, 3, 3, 4, 5, 6),
        (1, 2, 3, 4, 4, 4, 5, 6),
        (1, 2, 3, 5, 6),
        (),
    ],
)
def test_one_that_begins_anew_loses_epochs_or_skips_one_did_not(epochs: tuple[int, ...]) -> None:
    with pytest.raises(AssertionError):
        assert_resumed(_log(*epochs), 6)
