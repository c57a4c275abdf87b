import math

import numpy as np
import pyarrow as pa
import pytest

from dualrec.language.candidates import CandidateOrder, likeliest_first
from dualrec.storage.schemas import TRACES


def _answers(label_logprobs: list[list[float]]) -> pa.Table:
    """Answers for users to whom the sequence model says 3, 2, 5."""
    count = len(label_logprobs)
    table = pa.Table.from_pylist([{"sequence_item_ids": [3, 2, 5]}] * count, TRACES)
    added = ("titles", "title_item_ids", "title_matches", "title_similarities", "title_logprobs")
    likelihoods = pa.array(label_logprobs, pa.list_(pa.float32()))
    return table.drop_columns(list(added)).append_column("label_logprobs", likelihoods)


def test_candidates_stand_in_the_order_of_their_labels_likelihoods(catalog: pa.Table) -> None:
    embeddings = np.eye(6, dtype=np.float32)
    embeddings[1] = [0, 0.8, 0.6, 0, 0, 0]  # item 2 is like item 3, the first choice
    (row,) = CandidateOrder(catalog, embeddings)(
        _answers([[math.log(0.1), math.log(0.3)]])
    ).to_pylist()
    assert row["title_item_ids"] == [2, 3]
    assert row["titles"] == ["Bug's Life, A (1998)", "Heat (1995)"]
    assert row["title_matches"] == ["exact", "exact"]
    assert row["title_similarities"] == pytest.approx([0.6, 1.0])
    assert row["title_logprobs"] == pytest.approx([math.log(0.75), math.log(0.25)])


def test_a_failed_row_ranks_nothing_and_a_batch_may_be_empty(catalog: pa.Table) -> None:
    order = CandidateOrder(catalog, np.eye(6, dtype=np.float32))
    failed, done = order(_answers([[], [0.0, -1.0, -2.0]])).to_pylist()
    assert failed["titles"] == failed["title_logprobs"] == []
    assert done["title_item_ids"] == [3, 2, 5]
    assert order(_answers([])).schema == TRACES


def test_equally_likely_candidates_keep_their_order() -> None:
    items, logprobs = likeliest_first([3, 2, 5], np.array([-2.0, -2.0, -1.0]))
    assert items == [5, 3, 2]
    assert np.exp(logprobs).sum() == pytest.approx(1.0)
