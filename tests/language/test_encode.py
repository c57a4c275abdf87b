from pathlib import Path

import pyarrow as pa
import pytest

from dualrec.config.settings import load_settings
from dualrec.errors import AssetError, InputError
from dualrec.language.encode import ENCODED, ExampleEncoder
from dualrec.language.models import LanguageModel
from dualrec.language.prompts.chat_template import PromptBuilder
from tests.conftest import MOVIES
from tests.language.tiny_models import write_tokenizer

TITLES = {item: title for item, (title, _) in MOVIES.items()}
EXAMPLE = pa.table(
    {
        "user_id": [1],
        "order": pa.array([9], pa.uint64()),
        "item_ids": pa.array([[1, 3]], pa.list_(pa.int64())),
        "next_ids": pa.array([[2, 5, 4]], pa.list_(pa.int64())),
        "sequence_item_ids": pa.array([[6]], pa.list_(pa.int64())),
        "next_probabilities": pa.array([[0.3, 0.2, 0.1]], pa.list_(pa.float32())),
    }
)


def _encoder(folder: Path, *overrides: str) -> ExampleEncoder:
    # A token a byte: prompts are long.
    settings = load_settings(
        None, ["language.max_prompt_tokens=2000", "finetune.max_tokens=2000", *overrides]
    )
    return ExampleEncoder(
        str(folder), LanguageModel(), settings.language, settings.finetune, TITLES
    )


def test_an_example_is_the_served_prompt_then_titles_one_a_line_then_the_end(
    tmp_path: Path,
) -> None:
    write_tokenizer(tmp_path)
    encoder = _encoder(tmp_path)
    (row,) = encoder(EXAMPLE).to_pylist()
    settings = load_settings(None, ["language.max_prompt_tokens=2000"]).language
    served = PromptBuilder(str(tmp_path), LanguageModel(), settings, TITLES)(EXAMPLE)
    start = row["answer_start"]
    assert row["input_ids"][:start] == served.column("tokenized_prompt")[0].as_py()
    tokenizer = encoder.prompts.tokenizer
    written = "Bug's Life, A (1998)\nSabrina (1954)\nSeven (Se7en) (1995)"
    assert tokenizer.decode(row["input_ids"][start:-1]) == written
    assert row["input_ids"][-1] == tokenizer.eos_token_id
    assert encoder(EXAMPLE).schema == ENCODED


def test_the_most_expected_movie_is_the_first_title_unless_as_published(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    last = EXAMPLE.set_column(
        5, "next_probabilities", pa.array([[0.1, 0.2, 0.3]], pa.list_(pa.float32()))
    )
    for overrides, first in (
        ([], "Seven (Se7en) (1995)"),
        (["finetune.examples=published"], "Bug's Life, A (1998)"),
    ):
        encoder = _encoder(tmp_path, *overrides)
        (row,) = encoder(last).to_pylist()
        answer = encoder.prompts.tokenizer.decode(row["input_ids"][row["answer_start"] :])
        assert answer.startswith(f"{first}\n")


def test_older_movies_are_left_out_where_prompt_and_answer_exceed_the_limit(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    long = EXAMPLE.set_column(
        2, "item_ids", pa.array([[1, 2, 3, 4, 5, 6] * 3], pa.list_(pa.int64()))
    )
    for limit in (500, 600):
        (row,) = _encoder(tmp_path, f"finetune.max_tokens={limit}", "language.history_length=18")(
            long
        ).to_pylist()
        assert limit - 80 < len(row["input_ids"]) <= limit


def test_a_prompt_that_cannot_fit_is_an_error_that_names_the_settings(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    with pytest.raises(
        InputError, match=r"finetune\.max_tokens \(60\).*language\.max_prompt_tokens"
    ):
        _encoder(tmp_path, "finetune.max_tokens=60")


def test_a_tokenizer_without_a_chat_template_is_an_error(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, chat_template=None)
    with pytest.raises(AssetError, match="no chat template"):
        _encoder(tmp_path)


def test_where_items_are_ranked_the_only_target_is_the_label_of_the_soonest_candidate(
    tmp_path: Path,
) -> None:
    write_tokenizer(tmp_path)
    candidates = EXAMPLE.set_column(
        4, "sequence_item_ids", pa.array([[6, 4, 5]], pa.list_(pa.int64()))
    )
    encoder = _encoder(tmp_path, "language.mode=rank", "language.rank_candidates=3")
    (row,) = encoder(candidates).to_pylist()
    served = PromptBuilder(str(tmp_path), LanguageModel(), encoder.prompts.settings, TITLES)(
        candidates
    )
    assert row["input_ids"][:-1] == served.column("tokenized_prompt")[0].as_py()
    assert row["answer_start"] == len(row["input_ids"]) - 1
    assert encoder.prompts.tokenizer.decode(row["input_ids"][-1:]) == "C", "5 is watched before 4"


def test_candidates_that_cannot_fit_are_an_error_that_names_their_number(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    with pytest.raises(
        InputError, match=r"finetune\.max_tokens \(300\).*language\.rank_candidates"
    ):
        _encoder(tmp_path, "finetune.max_tokens=300", "language.mode=rank")
