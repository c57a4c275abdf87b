"""Labels of one token each, and candidates in the order of their likelihoods."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dualrec.errors import SettingsError
from dualrec.language.candidates import CandidateOrder, LabelLimits, label_tokens, likeliest_first
from dualrec.storage.schemas import TRACES
from tests.language.tiny_models import write_tokenizer


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    write_tokenizer(folder)
    return AutoTokenizer.from_pretrained(folder)


class _Spelled:
    """A tokenizer that turns texts into the tokens it is told."""

    unk_token_id = 0

    def __init__(self, tokens: dict[str, list[int]]) -> None:
        self.tokens = tokens

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": self.tokens[text]}


def test_labels_are_letters_of_one_token_each(tmp_path: Path) -> None:
    tokenizer = _tokenizer(tmp_path)
    assert tokenizer.convert_ids_to_tokens(label_tokens(tokenizer, 26)) == list(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    )


@pytest.mark.parametrize(
    "of_c", [[8, 9], [6], [0], []], ids=["two tokens", "another's token", "unknown", "none"]
)
def test_a_label_without_a_token_of_its_own_is_an_error_that_says_how_many_there_are(
    of_c: list[int],
) -> None:
    tokenizer = _Spelled({"A": [5], "B": [6], "C": of_c})
    assert label_tokens(tokenizer, 2) == [5, 6]
    with pytest.raises(
        SettingsError, match=r"none for 'C'.*Rank at most 2 items \(language\.rank_candidates\)"
    ):
        label_tokens(tokenizer, 3)


def test_an_answer_is_one_token_of_as_many_labels_as_there_are_candidates(tmp_path: Path) -> None:
    tokenizer = _tokenizer(tmp_path)
    requests = pa.table(
        {"sequence_item_ids": pa.array([[9, 8, 7, 6], [9], []], pa.list_(pa.int64()))}
    )
    limited = LabelLimits(tokenizer, 3)(requests).to_pylist()
    a, b, c = label_tokens(tokenizer, 3)
    assert [row["label_tokens"] for row in limited] == [[a, b, c], [a], []]
    assert [row["max_tokens"] for row in limited] == [1, 1, 1]


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
