from math import log2

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualrec.evaluation.metrics import (
    CUT_OFFS,
    LENGTH,
    ItemFacts,
    coverage,
    item_facts,
    jaccard,
    user_metrics,
)
from dualrec.ranking.fusion import hit_at, ndcg_at

#            nothing  1: Drama War  2: Drama  3: none  4: Comedy
GENRES = np.array([[0, 0, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 1]], np.float32)
FACTS = ItemFacts(GENRES, np.array([0.0, 0.5, 0.25, 0.125, 0.0]))


def _lists(*rows: list[int]) -> np.ndarray:
    return np.array([row + [0] * (LENGTH - len(row)) for row in rows], np.int32)


def _measured(row: list[int], truth: list[int], visible: list[int]) -> dict[str, float]:
    metrics = user_metrics(_lists(row), [np.array(truth)], [np.array(visible, np.int64)], FACTS)
    return {name: float(values[0]) for name, values in metrics.items()}


def test_genre_jaccard_is_shared_over_all() -> None:
    assert jaccard(GENRES[1], GENRES[2]) == 1 / 2
    assert (
        jaccard(GENRES[0], GENRES[2])
        == jaccard(GENRES[3], GENRES[3])
        == jaccard(GENRES[4], GENRES[2])
        == 0.0
    )


def test_one_users_accuracy() -> None:
    metrics = _measured([4, 2, 3], [1, 2], [3])
    assert (metrics["HR@1"], metrics["HR@5"]) == (0.0, 1.0)
    assert metrics["NDCG@5"] == pytest.approx((1 / log2(3)) / (1 + 1 / log2(3)))
    assert (metrics["MRR@1"], metrics["MRR@5"]) == (0.0, 1 / 2)
    assert (metrics["genre Jaccard"], metrics["genre Jaccard, best of 5"]) == (0.0, 0.5)


def test_a_title_in_no_catalog_takes_its_place_and_never_hits() -> None:
    metrics = _measured([-1, 2], [2], [])
    assert (metrics["HR@1"], metrics["MRR@5"]) == (0.0, 1 / 2)


def test_beyond_accuracy_by_hand() -> None:
    metrics = _measured([1, 2], [4], [2, 3])
    assert metrics["novelty@10"] == pytest.approx((1 + 2) / 2)
    assert metrics["popularity lift@10"] == pytest.approx(
        (0.5 + 0.25) / 2 / ((0.25 + 0.125) / 2) - 1
    )
    assert metrics["diversity@10"] == pytest.approx(1 - 1 / 2)


def test_what_does_not_apply_is_left_out() -> None:
    assert np.isnan(_measured([], [4], [2])["novelty@10"])
    assert np.isnan(_measured([1], [4], [2])["diversity@10"]), "one item has no pair"
    assert np.isnan(_measured([1], [4], [])["popularity lift@10"]), (
        "an empty history has no popularity"
    )


def test_coverage_counts_items_once_and_only_real_ones() -> None:
    assert coverage(_lists([1, 2], [2, -1]), 4) == 2 / 4


@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(-1, 30), max_size=LENGTH), st.sets(st.integers(1, 30), min_size=1)
        )
    )
)
def test_many_users_at_once_give_what_each_gives_alone(
    users: list[tuple[list[int], set[int]]],
) -> None:
    users = [([item for item in dict.fromkeys(row) if item], truth) for row, truth in users]
    if not users:
        return
    facts = ItemFacts(np.zeros((31, 1), np.float32), np.zeros(31))
    lists, truth = _lists(*[row for row, _ in users]), [np.array(sorted(one)) for _, one in users]
    metrics = user_metrics(lists, truth, [np.zeros(0, np.int64)] * len(users), facts)
    for k in CUT_OFFS:
        expected = [[None if item < 1 else item for item in row] for row, _ in users]
        assert metrics[f"HR@{k}"].tolist() == [
            hit_at(k, row, one) for row, (_, one) in zip(expected, users, strict=True)
        ]
        assert metrics[f"NDCG@{k}"] == pytest.approx(
            [ndcg_at(k, row, one) for row, (_, one) in zip(expected, users, strict=True)]
        )


def test_facts_of_a_catalog(catalog: pa.Table) -> None:
    facts = item_facts(catalog, 10)
    assert facts.genres.shape == (
        7,
        len({name for row in catalog.column("genres").to_pylist() for name in row}),
    )
    assert facts.genres[0].sum() == 0 and facts.genres[1].sum() == 3
    assert facts.popularity.tolist() == [0.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
