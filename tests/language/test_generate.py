"""What an engine is given, and what becomes of its rows. No engine is started."""

from typing import Any

import numpy as np
import pyarrow as pa

from dualrec.assets.nodes import AdapterPlace, ModelPlace
from dualrec.language import generate
from dualrec.language.generate import engine_options, sampling_options
from dualrec.language.models import LanguageModel, ServedModel
from dualrec.schemas import PROMPTED
from dualrec.settings import LanguageSettings

SETTINGS = LanguageSettings()
MERGED = ServedModel(LanguageModel(), ModelPlace("merged", "cache"))
UNMERGED = ServedModel(LanguageModel(stop=()), ModelPlace("base", "cache"), (AdapterPlace("adapter", "cache"), 16))


def _input(model: ServedModel, **row: Any) -> dict[str, Any]:
    given = {"user_id": 1, "max_tokens": 9, "grammar": None} | row
    return generate._as_engine_input(given, model, sampling_options(model, SETTINGS))


def test_a_grammar_goes_to_the_engine_and_no_further() -> None:
    row = _input(MERGED, grammar='start: "A"')
    assert row["sampling_params"]["structured_outputs"] == {"grammar": 'start: "A"'}
    assert "grammar" not in row
    assert "structured_outputs" not in _input(MERGED)["sampling_params"]


def test_each_request_has_its_own_limit_and_the_stop_of_its_model() -> None:
    assert _input(MERGED)["sampling_params"] == {"temperature": 0.0, "seed": 0, "stop": ["\n\n"], "max_tokens": 9}
    assert "stop" not in _input(UNMERGED)["sampling_params"]


def test_an_unmerged_adapter_is_named_by_each_request_and_loaded_by_the_engine() -> None:
    assert _input(UNMERGED)["model"] == "adapter"
    assert "model" not in _input(MERGED)
    options = engine_options(UNMERGED, SETTINGS)
    assert (options["enable_lora"], options["max_lora_rank"]) == (True, 16)
    assert "enable_lora" not in engine_options(MERGED, SETTINGS)


def test_the_engine_holds_the_longest_prompt_with_the_longest_answer() -> None:
    one, few, many = (engine_options(MERGED, LanguageSettings(titles=titles))["max_model_len"] for titles in (1, 2, 7))
    assert SETTINGS.max_prompt_tokens + SETTINGS.max_new_tokens == one < few < many


def test_a_label_is_chosen_among_those_of_the_row_and_all_their_likelihoods_are_asked_for() -> None:
    sampling = sampling_options(MERGED, LanguageSettings(mode="rank", temperature=0.7))
    row = generate._as_engine_input({"max_tokens": 1, "label_tokens": [5, 6]}, MERGED, sampling)
    assert row["sampling_params"] == {
        "temperature": 0.0, "seed": 0, "max_tokens": 1, "allowed_token_ids": [5, 6], "logprob_token_ids": [5, 6],
    }  # fmt: skip
    nothing = generate._as_engine_input({"max_tokens": 1, "label_tokens": []}, MERGED, sampling)
    assert not {"allowed_token_ids", "logprob_token_ids"} & set(nothing["sampling_params"])


def test_the_likelihoods_come_back_in_the_order_of_the_labels() -> None:
    row = {name: None for name in (*generate._CARRIED, *generate._ANSWER)} | {"label_tokens": [7, 5]}
    told = {5: {"logprob": -1.5, "rank": 1}, 0: {"logprob": -9.0, "rank": 4}, 7: {"logprob": -2.5, "rank": 2}}
    assert generate._from_engine_output({**row, "logprobs": [told]})["label_logprobs"] == [-2.5, -1.5]
    assert generate._from_engine_output({**row, "logprobs": None})["label_logprobs"] == []
    arrays = {**row, "logprobs": [told], "item_ids": np.array([4, 2])}
    assert generate._from_engine_output(arrays)["item_ids"] == [4, 2]


def test_a_failed_row_keeps_what_it_carried_and_gets_its_error() -> None:
    carried = {
        "user_id": [1, 2], "purpose": ["night"] * 2, "decoding": ["free"] * 2, "item_ids": [[1], [2]],
        "held_out": pa.array([[], []], pa.list_(pa.int64())), "sequence_item_ids": [[3], [4]],
        "sequence_scores": [[0.1], [0.2]], "prompt": ["p", "q"], "max_tokens": [9, 9],
    }  # fmt: skip
    answered = {
        "generated_text": ["Heat (1995)", None],
        "num_input_tokens": [5, None],
        "num_generated_tokens": [9, None],
    }
    rows = generate._tidy(pa.table(carried | answered | {"__inference_error__": ["", "boom"]}), None).to_pylist()
    assert (rows[0]["finish_reason"], rows[0]["generated_tokens"], rows[0]["error"]) == ("length", 9, None)
    assert (rows[1]["finish_reason"], rows[1]["generated_text"], rows[1]["error"]) == ("error", None, "boom")
    assert rows[1]["sequence_item_ids"] == [4]


def test_a_block_in_which_every_row_failed_has_the_types_of_the_others() -> None:
    nothing = pa.nulls(2)
    carried = {
        "user_id": [1, 2], "purpose": ["night"] * 2, "decoding": ["free"] * 2, "item_ids": [[1], [2]], "held_out": [[], []],
        "sequence_item_ids": [[3], [4]], "sequence_scores": [[0.1], [0.2]], "prompt": ["p", "q"], "max_tokens": [1, 1],
    }  # fmt: skip
    failed = {"generated_text": nothing, "label_logprobs": nothing, "__inference_error__": ["boom", "boom"]}
    tidy = generate._tidy(pa.table(carried | failed), None)
    assert tidy.select(PROMPTED.names).schema == PROMPTED
    assert tidy.schema.field("label_logprobs").type == pa.list_(pa.float32())
    assert tidy.column("label_logprobs").to_pylist() == [[], []]
