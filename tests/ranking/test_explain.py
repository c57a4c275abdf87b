import math
from math import log2
from typing import Any

import pyarrow as pa
import pytest

from dualrec.ranking.explain import explain_item, explain_list, find_preset, why_not_listed
from dualrec.ranking.lists import fused_list, paper_list
from dualrec.storage.schemas import RECOMMENDATIONS
from tests.ranking.test_lists import ranked, trace

CATALOG = set(range(1, 10))


def _published(items: list[Any]) -> pa.Table:
    rows = [dict.fromkeys(RECOMMENDATIONS.names) for _ in items]
    for row, item in zip(rows, items, strict=True):
        row |= {"item_id": item.item_id, "score": item.score}
    return pa.Table.from_pylist(rows, schema=RECOMMENDATIONS)


def test_a_reason_holds_what_both_models_said_and_added() -> None:
    first, second = explain_list(trace(), "fused", 0.25, 10)[:2]
    assert (first.item_id, first.sequence_rank, first.probability) == (3, 1, 0.5)
    assert (first.language_rank, first.match) == (None, None)
    assert (first.sequence_part, first.language_part) == (0.75 / (1 + log2(1)), 0.0)
    assert (second.item_id, second.language_rank, second.written) == (4, 2, "D")
    assert second.match == "exact"
    assert second.sequence_part == pytest.approx(0.75 / (1 + log2(2)))
    assert second.language_part == pytest.approx(0.25 / 2)
    assert second.similarity == 0.9


def test_of_ranked_candidates_the_log_likelihood_is_told() -> None:
    first = explain_list(ranked(), "fused", 0.5, 3)[0]
    assert (first.item_id, first.language_rank, first.logprob) == (4, 1, math.log(0.8))
    assert first.score == pytest.approx(0.5 * math.log(0.3) + 0.5 * math.log(0.8))


def test_a_title_in_no_catalog_is_explained_by_its_words() -> None:
    unknown = explain_list(trace(), "paper", 0.0, 10)[1]
    assert (unknown.item_id, unknown.title) == (None, "Nowhere")
    assert (unknown.language_rank, unknown.match, unknown.score) == (3, "none", 0.5)


@pytest.mark.parametrize("row", [trace(), ranked()], ids=["titles", "likelihoods"])
def test_the_preset_is_the_one_that_gives_the_published_list(row: dict[str, Any]) -> None:
    assert find_preset(row, _published(fused_list(row, 0.25, 3)), 0.25) == "fused"
    assert find_preset(row, _published(paper_list(row, 3)), 0.25) == "paper"
    assert find_preset(row, _published(fused_list(row, 0.25, 3)), 0.5) is None


@pytest.mark.parametrize(
    ("item", "preset", "why"),
    [
        (3, "fused", None),
        (6, "fused", "its rank is 4, below the list's cut-off of 2"),
        (1, "fused", "watched it already"),
        (99, "fused", "item 99 is outside the catalog"),
        (9, "fused", "not among the sequence model's 3 candidates"),
        (5, "paper", "number 3 of the sequence model's 3 candidates"),
    ],
)
def test_why_an_item_is_not_listed(item: int, preset: str, why: str | None) -> None:
    reason = explain_item(trace(), item, preset, 0.25, 2)
    said = why_not_listed(reason, trace(), CATALOG, 2)
    assert said is None if why is None else why in str(said)


def test_what_was_not_ranked_has_no_score() -> None:
    reason = explain_item(trace(), 9, "fused", 0.25, 2)
    assert (reason.rank, reason.score, reason.sequence_rank) == (None, None, None)
