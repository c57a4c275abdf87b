"""The announced time of `run` follows from the size of the data and the settings, and is not given
where it is not known."""

from pathlib import Path

import pytest

from dualrec.config.settings import load_settings
from dualrec.pipeline.estimate import Size, estimated_seconds, published_size

LOCAL = str(Path(__file__).parents[2] / "jobs/configs/local.yaml")
SIZE = Size({"train": 660, "validation": 141, "test": 142}, 100_000)


def _seconds(*overrides: str) -> float:
    seconds = estimated_seconds(load_settings(LOCAL, [*overrides]), SIZE)
    assert seconds is not None
    return seconds


def test_the_local_profile_takes_eight_minutes_at_most() -> None:
    settings = load_settings(LOCAL)
    size = published_size(settings)
    assert size is not None and size.users == {"train": 660, "validation": 141, "test": 141}
    seconds = estimated_seconds(settings, size)
    assert seconds is not None and 120 < seconds <= 480


@pytest.mark.parametrize(
    "more",
    [
        "finetune.max_examples=2000",
        "finetune.epochs=2",
        "sequence.preset=improved",
        "sequence.epochs=30",
        "recommend.split=all",
        "baselines.systems=[SKNN]",
        "evaluation.variants=[{name: free, set: {language.decoding: free}}]",
    ],
)
def test_more_to_do_takes_longer(more: str) -> None:
    assert _seconds(more) > _seconds()


@pytest.mark.parametrize(
    "less",
    [
        "language.tuned=null",
        "evaluation.language=false",
        "finetune.examples=published",
        "evaluation.max_users=50",
        "ranking.calibration_users=50",
        "recommend.max_users=50",
    ],
)
def test_less_to_do_takes_less(less: str) -> None:
    assert _seconds(less) < _seconds()


def test_candidates_are_no_requests_of_their_own() -> None:
    of_two = _seconds("evaluation.protocols=[next_item, last_five]")
    assert (
        _seconds("evaluation.protocols=[next_item, last_five, candidates_20, time_split]") == of_two
    )


@pytest.mark.parametrize(
    "other", ["language.engine.use_gpu=true", "language.model=mistral-7b-instruct-v0.3"]
)
def test_nothing_is_said_of_gpus_and_other_models(other: str) -> None:
    assert estimated_seconds(load_settings(LOCAL, [other]), SIZE) is None


def test_the_size_of_own_data_is_known_once_it_is_read() -> None:
    assert published_size(load_settings(LOCAL, ["data.source=views.parquet"])) is None
