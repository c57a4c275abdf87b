import math
from datetime import date
from math import log2
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dualrec.ranking.lists import fused_list, language_list, paper_list
from dualrec.ranking.table import ListWriter
from dualrec.storage.schemas import TRACES


def trace(**changes: Any) -> dict[str, Any]:
    """A trace of a user who watched 1 and 2, for whom the sequence model says 3, 4, 5."""
    row: dict[str, Any] = dict.fromkeys(TRACES.names)
    row |= {
        "user_id": 7,
        "purpose": "night",
        "item_ids": [1, 2],
        "held_out": [],
        "sequence_item_ids": [3, 4, 5],
    }
    row |= {
        "sequence_scores": [0.5, 0.3, 0.1],
        "titles": ["F", "D", "Nowhere"],
        "title_item_ids": [6, 4, None],
    }
    row |= {"title_matches": ["exact", "exact", "none"], "title_similarities": [0.2, 0.9, 0.5]}
    return row | changes


def _items(items: list[Any]) -> list[int | None]:
    return [item.item_id for item in items]


def test_the_paper_list_is_the_titles_by_similarity() -> None:
    assert _items(paper_list(trace(), 10)) == [4, None, 6]
    assert [item.source for item in paper_list(trace(), 10)] == ["both", "language", "language"]
    assert [item.score for item in paper_list(trace(), 10)] == [0.9, 0.5, 0.2]
    assert [item.title for item in paper_list(trace(), 10)] == [None, "Nowhere", None], (
        "the catalog names its own"
    )
    assert _items(paper_list(trace(), 2)) == [4, None], (
        "the best of all that was written, cut to length"
    )
    assert _items(paper_list(trace(), 1)) == [4]


def test_the_language_list_keeps_the_order_of_writing() -> None:
    items = language_list(trace(), 10)
    assert [(item.item_id, item.title, item.score, item.source) for item in items] == [
        (6, "F", 1 / 1, "language"),
        (4, "D", 1 / 2, "language"),
        (None, "Nowhere", 1 / 3, "language"),
    ]  # fmt: skip


def test_the_fused_score_weighs_the_ranks_of_both_models() -> None:
    items = fused_list(trace(), 0.25, 10)
    expected = {
        3: 0.75 / (1 + log2(1)),
        4: 0.75 / (1 + log2(2)) + 0.25 / 2,
        5: 0.75 / (1 + log2(3)),
        6: 0.25 / 1,
    }
    assert _items(items) == [3, 4, 5, 6]
    assert {item.item_id: item.score for item in items} == pytest.approx(expected)
    assert [item.source for item in items] == ["sequence", "both", "sequence", "language"]
    assert _items(fused_list(trace(), 0.25, 2)) == [3, 4]


def test_titles_in_no_catalog_are_told_apart_by_their_words() -> None:
    unknown = trace(
        titles=["Here", "There", "here"],
        title_item_ids=[None] * 3,
        title_similarities=[0.1, 0.2, 0.3],
    )
    assert [item.title for item in language_list(unknown, 10)] == ["Here", "There"]


@pytest.mark.parametrize(
    "build",
    [lambda t: paper_list(t, 10), lambda t: fused_list(t, 0.5, 10), lambda t: language_list(t, 10)],
)
def test_nothing_watched_and_nothing_twice(build: Any) -> None:
    written = trace(
        titles=["A", "F", "F", "X", "x"],
        title_item_ids=[1, 6, 6, None, None],
        title_similarities=[0.9, 0.5, 0.5, 0.1, 0.1],
        title_matches=["exact"] * 5,
    )
    items = _items(build(written))
    assert not {1, 2} & set(items)
    assert len(items) == len(set(items))


def test_weight_zero_is_the_sequence_model_and_weight_one_opens_with_the_language_model() -> None:
    assert _items(fused_list(trace(), 0.0, 3)) == [3, 4, 5]
    assert _items(fused_list(trace(), 1.0, 4)) == [6, 4, 3, 5]


def ranked(**changes: Any) -> dict[str, Any]:
    """A trace whose first two items of the sequence model, 3 and 4, are ranked 4 before 3."""
    row = {"titles": ["D", "C"], "title_item_ids": [4, 3], "title_matches": ["exact"] * 2}
    row |= {"title_similarities": [0.2, 1.0], "title_logprobs": [math.log(0.8), math.log(0.2)]}
    return trace(**row | changes)


def test_likelihoods_are_weighed_against_each_other_and_candidates_stand_first() -> None:
    assert _items(fused_list(ranked(), 0.0, 3)) == [3, 4, 5]
    assert _items(fused_list(ranked(), 1.0, 3)) == [4, 3, 5]
    items = fused_list(ranked(), 0.5, 3)
    expected = {
        4: 0.5 * math.log(0.3) + 0.5 * math.log(0.8),
        3: 0.5 * math.log(0.5) + 0.5 * math.log(0.2),
        5: 0.5 * math.log(0.1) + 0.5 * math.log(0.2),
    }
    assert _items(items) == [4, 3, 5]
    assert {item.item_id: item.score for item in items} == pytest.approx(expected)
    assert [item.source for item in items] == ["both", "both", "sequence"]
    assert _items(fused_list(ranked(), 0.5, 2)) == [4, 3]


@pytest.mark.parametrize("weight", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_no_other_item_comes_before_a_candidate(weight: float, random: np.random.Generator) -> None:
    items, scores = [*range(10, 110)], np.sort(random.dirichlet(np.ones(100)))[::-1]
    shuffled = random.permutation(items[:20]).tolist()
    logprobs = np.sort(np.log(random.dirichlet(np.full(20, 0.1)) + 1e-9))[::-1]
    row = ranked(sequence_item_ids=items, sequence_scores=scores.tolist(), title_item_ids=shuffled,
                 title_logprobs=logprobs.tolist())  # fmt: skip
    fused = _items(fused_list(row, weight, 100))
    assert sorted(fused[:20]) == items[:20]
    assert fused[20:] == items[20:]
    if weight == 1.0:
        assert fused[:20] == shuffled


def test_the_paper_sorts_the_first_of_the_ranked_items_by_similarity() -> None:
    assert _items(language_list(ranked(), 1)) == [4]
    assert _items(paper_list(ranked(), 1)) == [4]
    assert _items(paper_list(ranked(), 2)) == [3, 4]


def test_where_ranking_failed_the_sequence_models_list_stands_in() -> None:
    failed = ranked(
        titles=[], title_item_ids=[], title_matches=[], title_similarities=[], title_logprobs=[]
    )
    assert _items(fused_list(failed, 0.6, 3)) == _items(paper_list(failed, 3)) == [3, 4, 5]
    assert [item.score for item in fused_list(failed, 0.6, 3)] == pytest.approx(
        [0.4 * math.log(0.5), 0.4 * math.log(0.3), 0.4 * math.log(0.1)]
    )
    assert language_list(failed, 3) == []


def test_a_failed_language_model_falls_back_to_the_sequence_model() -> None:
    failed = trace(
        titles=[], title_item_ids=[], title_matches=[], title_similarities=[], error="boom"
    )
    assert _items(paper_list(failed, 3)) == _items(fused_list(failed, 0.6, 3)) == [3, 4, 5]
    assert [item.score for item in paper_list(failed, 3)] == pytest.approx(
        [1, 1 / (1 + log2(2)), 1 / (1 + log2(3))]
    )


@pytest.mark.parametrize(
    ("build", "torn"),
    [
        (lambda row: paper_list(row, 9), trace(titles=["F"])),
        (lambda row: fused_list(row, 0.5, 9), ranked(title_logprobs=[math.log(0.8)])),
        (lambda row: fused_list(row, 0.5, 9), ranked(sequence_scores=[0.5, 0.3])),
    ],
    ids=["titles", "likelihoods", "probabilities"],
)
def test_a_trace_whose_columns_do_not_belong_together_is_an_error_and_no_shorter_list(
    build: Any, torn: Any
) -> None:
    with pytest.raises(ValueError, match="zip"):
        build(torn)


def test_the_written_rows_are_the_contract(catalog: pa.Table) -> None:
    embeddings = np.eye(6, dtype=np.float32)
    embeddings[2, 1] = 0.9  # item 3 rests on item 2 before item 1
    writer = ListWriter(catalog, embeddings, "fused", 0.0, 2, date(2026, 1, 2))
    rows = writer(pa.Table.from_pylist([trace()], schema=TRACES)).to_pylist()
    assert [(row["rank"], row["item_id"], row["title"]) for row in rows] == [
        (1, 3, "Heat (1995)"), (2, 4, "Seven (Se7en) (1995)")]  # fmt: skip
    assert rows[0] == {
        "run_date": date(2026, 1, 2),
        "user_id": 7,
        "rank": 1,
        "item_id": 3,
        "title": "Heat (1995)",
        "year": 1995,
        "genres": ["Action", "Crime", "Thriller"],
        "score": 1.0,
        "source": "sequence",
        "similar_history": [2, 1],
    }


def test_a_title_in_no_catalog_keeps_its_words(catalog: pa.Table) -> None:
    writer = ListWriter(catalog, np.eye(6, dtype=np.float32), "paper", 0.0, 10, date(2026, 1, 2))
    row = writer(pa.Table.from_pylist([trace()], schema=TRACES)).to_pylist()[1]
    assert (row["item_id"], row["title"], row["year"], row["genres"], row["similar_history"]) == (
        None,
        "Nowhere",
        None,
        [],
        [],
    )


def test_a_movie_rests_on_movies_of_the_catalog_only(catalog: pa.Table) -> None:
    writer = ListWriter(catalog, np.eye(6, dtype=np.float32), "fused", 0.0, 1, date(2026, 1, 2))
    histories = {(99, 2, 0): [2], (99,): [], (): []}
    traces = [trace() | {"item_ids": list(history)} for history in histories]
    rows = writer(pa.Table.from_pylist(traces, schema=TRACES)).to_pylist()
    assert [row["similar_history"] for row in rows] == list(histories.values())


def test_a_movie_rests_on_the_three_nearest_of_the_twenty_most_recent(catalog: pa.Table) -> None:
    embeddings = np.eye(6, dtype=np.float32)
    embeddings[2, [0, 1, 3, 4]] = [0.1, 0.4, 0.3, 0.2]  # how near the others are to item 3
    writer = ListWriter(catalog, embeddings, "fused", 0.0, 1, date(2026, 1, 2))
    elsewhere = range(101, 120)  # nineteen movies that the catalog lacks
    histories = {(1, 2, 4, 5): [2, 4, 5], (1, *elsewhere): [1], (1, *elsewhere, 120): []}
    traces = [trace(item_ids=list(history)) for history in histories]
    rows = writer(pa.Table.from_pylist(traces, schema=TRACES)).to_pylist()
    assert [row["similar_history"] for row in rows] == list(histories.values())
