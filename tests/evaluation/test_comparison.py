import numpy as np
import pytest

from dualrec.config.settings import EvaluationSettings
from dualrec.evaluation.comparison import against_best, holm, intervals

SETTINGS = EvaluationSettings(bootstrap_samples=500, permutations=999)


def test_intervals_hold_the_mean_and_narrow_with_more_users(random: np.random.Generator) -> None:
    few, many = random.random((50, 2)), random.random((5000, 2))
    for values in (few, many):
        bounds = intervals(values, 500, 0)
        assert np.allclose(bounds[:, 0], values.mean(0))
        assert (bounds[:, 1] < bounds[:, 0]).all()
        assert (bounds[:, 0] < bounds[:, 2]).all()
    width = lambda values: np.ptp(intervals(values, 500, 0)[:, 1:], axis=1)  # noqa: E731
    assert (width(many) < width(few) / 5).all()


def test_the_width_is_that_of_the_normal_approximation(random: np.random.Generator) -> None:
    values = (random.random((2000, 1)) < 0.3).astype(float)
    _, low, high = intervals(values, 2000, 0)[0]
    expected = 2 * 1.96 * values.std() / np.sqrt(len(values))
    assert abs((high - low) / expected - 1) < 0.1


def test_users_without_a_value_are_left_out() -> None:
    values = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan]])
    bounds = intervals(values, 100, 0)
    assert bounds[0, 0] == 2.0
    assert np.isnan(bounds[1]).all()


def test_a_paired_difference_is_found_that_two_intervals_would_hide(
    random: np.random.Generator,
) -> None:
    users = random.random(300)
    values = {
        "ours": users + 0.01 + random.normal(0, 0.01, 300),
        "rival": users,
        "weak": users - 0.5,
    }
    found = against_best(values, ["rival", "weak"], "NDCG@10", SETTINGS)
    assert set(found) == {"ours", "weak"}
    assert found["ours"]["rival"] == "rival"
    assert found["ours"]["difference"]["low"] > 0
    assert found["ours"]["p"] < 0.01
    alone = {name: intervals(one[:, None], 500, 0)[0] for name, one in values.items()}
    assert alone["ours"][1] < alone["rival"][2], "the two intervals overlap"


def test_chance_is_called_chance(random: np.random.Generator) -> None:
    small = []
    for trial in range(40):
        values = {
            "a": np.random.default_rng(trial).random(60),
            "b": np.random.default_rng(trial + 1000).random(60),
        }
        small.append(against_best(values, ["b"], "NDCG@10", SETTINGS)["a"]["p"] < 0.05)
    assert np.mean(small) < 0.2


def test_the_same_answers_differ_by_nothing() -> None:
    values = {"a": np.ones(9), "b": np.ones(9)}
    assert against_best(values, ["b"], "NDCG@10", SETTINGS)["a"]["p"] == 1.0


def test_holm_by_hand() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx(
        {"a": 0.03, "c": 0.06, "b": 0.06}
    )
