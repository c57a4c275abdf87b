"""What an engine is given, and what becomes of its rows. A function answers in the engine's place;
none is started."""

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray.data.llm

from dualrec.assets.nodes import ModelPlace
from dualrec.config.settings import LanguageSettings
from dualrec.language.generate import engine_options, generate
from dualrec.language.models import LanguageModel, ServedModel
from dualrec.storage.schemas import PROMPTED

SETTINGS = LanguageSettings()
RANKING = LanguageSettings(mode="rank", temperature=0.7)
MERGED = ServedModel(LanguageModel(), ModelPlace("merged", "cache"))
WITHOUT_STOP = ServedModel(LanguageModel(stop=()), ModelPlace("base", "cache"))
WRITTEN = {
    "generated_text": "Heat (1995)",
    "num_input_tokens": 5,
    "num_generated_tokens": 4,
    "time_taken_llm": 0.1,
}
Row = dict[str, Any]


class Rows(list[Row]):
    """Stands in for a dataset of Ray: functions are applied to it at once, as one batch."""

    def map_batches(self, function: Callable[..., pa.Table], fn_kwargs: Row, **_: Any) -> pa.Table:
        names = dict.fromkeys(name for row in self for name in row)
        return function(
            pa.table({name: [row.get(name) for row in self] for name in names}), **fn_kwargs
        )


class Processor(SimpleNamespace):
    """Stands in for Ray Data's own, with what `generate` asks of it."""

    def __init__(self, through_the_engine: Callable[[Row], Row], **has: Any) -> None:
        super().__init__(**has)
        self.through_the_engine = through_the_engine

    def __call__(self, rows: list[Row]) -> Rows:
        return Rows(self.through_the_engine(dict(row)) for row in rows)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """What the engine was given. A row of Ray Data's processor that fails skips what comes after
    the engine."""
    given: list[Row] = []

    def build_processor(
        config: object,
        preprocess: Callable[[Row], Row],
        postprocess: Callable[[Row], Row],
        **_: Any,
    ) -> Any:
        def through_the_engine(row: Row) -> Row:
            answer = row.pop("answer", WRITTEN)
            given.append(preprocess(row))
            if "__inference_error__" in answer:
                return given[-1] | answer
            return {**postprocess(given[-1] | answer), "__inference_error__": ""}

        stage = SimpleNamespace(fn_constructor_kwargs={}, model_copy=lambda update: update)
        return Processor(through_the_engine, stages={}, get_stage_by_name=lambda name: stage)

    monkeypatch.setattr(ray.data.llm, "build_processor", build_processor)
    monkeypatch.setattr(ray, "cluster_resources", dict)
    monkeypatch.setitem(
        sys.modules, "dualrec.language.engine", SimpleNamespace(Engine=None)
    )  # it would import vLLM
    return given


def request(**own: Any) -> Row:
    """A request with its prompt; `answer` is what the engine makes of it."""
    row = {
        "user_id": 1,
        "purpose": "night",
        "decoding": "free",
        "item_ids": [1],
        "held_out": [],
        "prompt": "p",
    }
    row |= {
        "sequence_item_ids": [3],
        "sequence_scores": [0.1],
        "tokenized_prompt": [7, 8],
        "max_tokens": 9,
    }
    assert set(PROMPTED.names) <= set(row)
    return row | own


def block(
    *rows: Row, model: ServedModel = MERGED, settings: LanguageSettings = SETTINGS
) -> pa.Table:
    return generate(rows, model, settings)  # type: ignore[arg-type, return-value]


def answered(
    *rows: Row, model: ServedModel = MERGED, settings: LanguageSettings = SETTINGS
) -> list[Row]:
    return list(block(*rows, model=model, settings=settings).to_pylist())


def test_a_grammar_goes_to_the_engine_and_no_further(given: list[Row]) -> None:
    rows = answered(request(grammar='start: "A"'), request(grammar=None))
    assert given[0]["sampling_params"]["structured_outputs"] == {"grammar": 'start: "A"'}
    assert "structured_outputs" not in given[1]["sampling_params"]
    assert not any("grammar" in row for row in [*given, *rows])


def test_each_request_has_its_own_limit_and_the_stop_of_its_model(given: list[Row]) -> None:
    answered(request())
    answered(request(max_tokens=7), model=WITHOUT_STOP)
    assert given[0]["sampling_params"] == {
        "temperature": 0.0,
        "seed": 0,
        "stop": ["\n\n"],
        "max_tokens": 9,
    }
    assert given[1]["sampling_params"] == {"temperature": 0.0, "seed": 0, "max_tokens": 7}


def test_the_engine_holds_the_longest_prompt_with_the_longest_answer() -> None:
    one, few, many = (
        engine_options(MERGED, LanguageSettings(titles=titles))["max_model_len"]
        for titles in (1, 2, 7)
    )
    assert SETTINGS.max_prompt_tokens + SETTINGS.max_new_tokens == one < few < many


def test_a_label_is_chosen_among_those_of_the_row_and_all_their_likelihoods_are_asked_for(
    given: list[Row],
) -> None:
    ranked = {"max_tokens": 1, "answer": WRITTEN | {"logprobs": None}}
    answered(
        request(label_tokens=[5, 6], **ranked), request(label_tokens=[], **ranked), settings=RANKING
    )
    assert given[0]["sampling_params"] == {
        "temperature": 0.0,
        "seed": 0,
        "max_tokens": 1,
        "allowed_token_ids": [5, 6],
        "logprob_token_ids": [5, 6],
    }
    assert not {"allowed_token_ids", "logprob_token_ids"} & set(given[1]["sampling_params"])


def test_the_likelihoods_come_back_in_the_order_of_the_labels(given: list[Row]) -> None:
    told = {
        5: {"logprob": -1.5, "rank": 1},
        0: {"logprob": -9.0, "rank": 4},
        7: {"logprob": -2.5, "rank": 2},
    }
    of_arrays = {
        "item_ids": np.array([4, 2]),
        "label_tokens": [7, 5],
    }  # as Ray hands on what Arrow cannot hold
    rows = answered(
        request(**of_arrays, answer=WRITTEN | {"logprobs": [told]}),
        request(label_tokens=[7, 5], answer=WRITTEN | {"logprobs": None}),
        settings=RANKING,
    )
    assert [row["label_logprobs"] for row in rows] == [[-2.5, -1.5], []]
    assert rows[0]["item_ids"] == [4, 2]


def test_a_failed_row_keeps_what_it_carried_and_gets_its_error(given: list[Row]) -> None:
    rows = answered(
        request(answer=WRITTEN | {"num_generated_tokens": 9}),
        request(user_id=2, sequence_item_ids=[4], answer={"__inference_error__": "boom"}),
        request(user_id=3),
    )
    outcomes = [
        (row["user_id"], row["finish_reason"], row["generated_tokens"], row["error"])
        for row in rows
    ]
    assert outcomes == [(1, "length", 9, None), (2, "error", None, "boom"), (3, "stop", 4, None)]
    assert [row["generated_text"] for row in rows] == ["Heat (1995)", None, "Heat (1995)"]
    assert [row["prompt_tokens"] for row in rows] == [5, None, 5]
    assert rows[1]["sequence_item_ids"] == [4]
    assert not any("tokenized_prompt" in row for row in rows), "the token ids stay behind"


def test_a_block_in_which_every_row_failed_has_the_types_of_the_others(given: list[Row]) -> None:
    failed = {"__inference_error__": "boom", "generated_text": None, "label_logprobs": None}
    rows = block(
        request(label_tokens=[5], answer=failed),
        request(label_tokens=[6], answer=failed),
        settings=RANKING,
    )
    assert rows.select(PROMPTED.names).schema == PROMPTED
    assert rows.schema.field("label_logprobs").type == pa.list_(pa.float32())
    assert rows.column("label_logprobs").to_pylist() == [[], []]
