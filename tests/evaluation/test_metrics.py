import numpy as np

from dualrec.evaluation.metrics import Listed, intervals, jaccard, user_metrics

GENRES = {1: frozenset({"Drama", "War"}), 2: frozenset({"Drama"}), 3: frozenset(), 4: frozenset({"Comedy"})}


def test_genre_jaccard_is_shared_over_all() -> None:
    assert jaccard(GENRES, 1, 2) == 1 / 2
    assert jaccard(GENRES, None, 2) == jaccard(GENRES, 3, 3) == jaccard(GENRES, 4, 2) == 0.0


def test_one_users_metrics() -> None:
    metrics = user_metrics(Listed([4, 2], [1, 2], [3], [2, 2, 3, None]), GENRES)
    assert (metrics["HR@1"], metrics["HR@5"]) == (0.0, 1.0)
    assert (metrics["genre Jaccard"], metrics["genre Jaccard, best of 5"]) == (0.0, 0.5)
    assert (metrics["titles resolved"], metrics["titles repeated"], metrics["titles already watched"]) == (
        3 / 4,
        1 / 4,
        1 / 4,
    )


def test_shares_of_titles_do_not_apply_where_none_were_written() -> None:
    assert np.isnan(user_metrics(Listed([1], [2], [], None), GENRES)["titles resolved"])
    assert np.isnan(user_metrics(Listed([1], [2], [], []), GENRES)["titles resolved"])
    assert np.isnan(user_metrics(Listed([1], [2], [], None), GENRES)["answers well formed"])
    assert user_metrics(Listed([1], [2], [], []), GENRES)["answers well formed"] == 0.0


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
