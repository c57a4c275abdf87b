from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dualrec.errors import SettingsError
from dualrec.language.labels import LabelLimits, label_tokens
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
