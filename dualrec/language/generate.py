"""Generation by vLLM actors under Ray Data. Takes requests with prompts; gives text, token counts
and errors.

Where items are ranked, the text is one of the labels, and the likelihoods of all of them come with
it. A row on which the engine fails comes back with its error and no text; it never stops the
others.
"""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import ray.data
from ray.actor import ActorHandle

from dualrec.cluster.resources import cluster_gpus, engine_replicas
from dualrec.config.settings import LanguageSettings
from dualrec.language.models import ServedModel
from dualrec.language.shortlist import max_answer_tokens
from dualrec.storage.schemas import PROMPTED

_CARRIED = (*PROMPTED.names, "max_tokens")  # the token ids stay behind
STAGE = "vLLMEngineStage"  # Ray Data's name of its engine
# and warns that the driver's machine has none
LOOKS_FOR_MODEL = "ray.llm._internal.batch.processor.vllm_engine_proc"
NOT_HERE = "/brought by each engine to its own node"
# Tokens that an engine on CPUs caches together; the least that it takes. The instruction, which all
# prompts share, has some fifty in SmolLM2's tokenizer, so of vLLM's own 128 on CPUs (16 on GPUs)
# none would ever be found again.
CPU_BLOCK_TOKENS = 32


def generate(
    requests: ray.data.Dataset,
    model: ServedModel,
    settings: LanguageSettings,
    counter: ActorHandle | None = None,
) -> ray.data.Dataset:
    """Append generated_text, prompt_tokens, generated_tokens, finish_reason and error to requests
    with prompts and limits.

    Where the requests carry label_tokens, label_logprobs list<float32> is appended too: the
    engine's log-likelihood of each label as the next token, among all tokens; empty where it
    failed. Rows come back in any order.

    Args:
        counter: a RowCounter that counts answers as they are written, and when engines were
            busy.
    """
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    from dualrec.language.engine import Engine

    logging.getLogger(LOOKS_FOR_MODEL).setLevel(logging.ERROR)
    engine = settings.engine
    config = vLLMEngineProcessorConfig(
        model_source=NOT_HERE,
        engine_kwargs=engine_options(model, settings),
        batch_size=engine.batch_size,
        max_concurrent_batches=engine.concurrent_batches,
        concurrency=(1, engine_replicas(engine, cluster_gpus())),
        placement_group_config={"bundles": [_bundle(settings)] * engine.tensor_parallel},
        runtime_env={"env_vars": engine_environment(settings)},
        should_continue_on_error=True,
        chat_template_stage=False,
        tokenize_stage=False,
        detokenize_stage=False,
        log_engine_metrics=False,
    )
    processor = build_processor(
        config,
        preprocess=partial(_as_engine_input, sampling=sampling_options(model, settings)),
        postprocess=_from_engine_output,
        preprocess_map_kwargs={"num_cpus": 0.1},
        postprocess_map_kwargs={"num_cpus": 0.1},
    )
    stage = processor.get_stage_by_name(STAGE)
    own = {
        "fn": Engine,
        "fn_constructor_kwargs": {
            **stage.fn_constructor_kwargs,
            "served": model,
            "counter": counter,
        },
    }
    processor.stages[STAGE] = stage.model_copy(
        update=own
    )  # to set them would work out its resources once more, wrongly
    return processor(requests).map_batches(
        _tidy,
        fn_kwargs={"counter": counter},
        batch_format="pyarrow",
        num_cpus=0.1,
    )


def _as_engine_input(row: dict[str, Any], sampling: dict[str, Any]) -> dict[str, Any]:
    own = {
        "max_tokens": row["max_tokens"],
        **_decoding_constraints(row.pop("grammar", None), row.get("label_tokens")),
    }
    return {**row, "sampling_params": {**sampling, **own}}


def _decoding_constraints(grammar: str | None, labels: Sequence[int] | None) -> dict[str, Any]:
    """Sampling parameters that hold an answer to a grammar or to labels; none where any text may be
    written."""
    if grammar:
        return {"structured_outputs": {"grammar": grammar}}
    if labels is None or not len(labels):
        return {}
    tokens = [int(label) for label in labels]
    return {"allowed_token_ids": tokens, "logprob_token_ids": tokens}


def _from_engine_output(row: dict[str, Any]) -> dict[str, Any]:
    # Likelihoods by token id are nothing that Arrow holds, so Ray hands such rows on with arrays in
    # place of lists.
    answer = {
        name: value.tolist() if hasattr(value := row[name], "tolist") else value
        for name in (*_CARRIED, *_ANSWER)
    }
    if "label_tokens" not in row:
        return answer
    (likelihoods,) = row["logprobs"] or [{}]  # one token was written, or none
    return {
        **answer,
        "label_logprobs": [
            likelihoods[label]["logprob"] for label in row["label_tokens"] if likelihoods
        ],
    }


_ANSWER = ("generated_text", "num_input_tokens", "num_generated_tokens", "time_taken_llm")


def _tidy(rows: pa.Table, counter: ActorHandle | None) -> pa.Table:
    """The contract's columns; rows that failed keep what they carried and get their error."""
    seconds = [
        taken for taken in _column(rows, "time_taken_llm") if taken and taken > 0
    ]  # -1 where a row failed
    if counter is not None and seconds:
        counter.engine_answered.remote(len(rows), max(seconds))
    errors = [error or None for error in rows.column("__inference_error__").to_pylist()]
    counts = [
        None if error else int(count)
        for count, error in zip(_column(rows, "num_generated_tokens"), errors, strict=True)
    ]
    limits = rows.column("max_tokens").to_pylist()
    # Of what is null or empty in a whole block, such as the movies held out for a night, Ray knows
    # no type.
    columns = {field.name: rows.column(field.name).cast(field.type) for field in PROMPTED}
    columns["generated_text"] = pa.array(
        [
            None if error else text
            for text, error in zip(_column(rows, "generated_text"), errors, strict=True)
        ],
        pa.string(),
    )
    columns["prompt_tokens"] = pa.array(
        [
            None if error else int(count)
            for count, error in zip(_column(rows, "num_input_tokens"), errors, strict=True)
        ],
        pa.int32(),
    )
    columns["generated_tokens"] = pa.array(counts, pa.int32())
    columns["finish_reason"] = pa.array(
        [_finish_reason(count, limit) for count, limit in zip(counts, limits, strict=True)],
        pa.string(),
    )
    columns["error"] = pa.array(errors, pa.string())
    if "label_logprobs" in rows.column_names:
        likelihoods = [
            values if values is not None else []
            for values in rows.column("label_logprobs").to_pylist()
        ]
        columns["label_logprobs"] = pa.array(likelihoods, pa.list_(pa.float32()))
    return pa.table(columns)


def _finish_reason(count: int | None, limit: int) -> str:
    return "error" if count is None else "length" if count >= limit else "stop"


def _column(rows: pa.Table, name: str) -> list[Any]:
    return rows.column(name).to_pylist() if name in rows.column_names else [None] * len(rows)


def sampling_options(model: ServedModel, settings: LanguageSettings) -> dict[str, Any]:
    """How vLLM draws tokens, the same for every request; a label is never drawn, but the likeliest
    one."""
    if settings.mode == "rank":
        return {"temperature": 0.0, "seed": settings.seed}
    stop = {"stop": list(model.preset.stop)} if model.preset.stop else {}
    return {"temperature": settings.temperature, "seed": settings.seed, **stop}


def engine_options(model: ServedModel, settings: LanguageSettings) -> dict[str, Any]:
    """Arguments of a vLLM engine."""
    engine = settings.engine
    options: dict[str, Any] = {
        "max_model_len": settings.max_prompt_tokens
        + max(settings.max_new_tokens, max_answer_tokens(settings.titles)),
        # not what Mistral's folders hold beside it: the prompts are built by that tokenizer
        "config_format": "hf",
        "tokenizer_mode": "hf",
        "load_format": "safetensors",  # no pickle
        "trust_remote_code": False,
        # xgrammar takes seconds for what this builds in milliseconds
        "structured_outputs_config": {"backend": "guidance"},
        "max_num_seqs": engine.max_sequences,
        "dtype": model.dtype,
        "enforce_eager": engine.enforce_eager,
        "enable_prefix_caching": True,
        "seed": settings.seed,
        "tensor_parallel_size": engine.tensor_parallel,
    }
    if engine.use_gpu:
        options["gpu_memory_utilization"] = engine.gpu_memory_fraction
    else:
        options["block_size"] = CPU_BLOCK_TOKENS
    return options


def _bundle(settings: LanguageSettings) -> dict[str, float]:
    engine = settings.engine
    return {"CPU": engine.cpus, "GPU": 1} if engine.use_gpu else {"CPU": engine.cpus}


def engine_environment(settings: LanguageSettings) -> dict[str, str]:
    """Environment variables of the processes that hold an engine."""
    engine = settings.engine
    quiet = {"VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    if engine.use_gpu:
        return quiet
    on_cpus = {**quiet, "VLLM_CPU_KVCACHE_SPACE": str(engine.kv_cache_gib)}
    if not engine.threads:
        return on_cpus
    # Ray gives an actor of less than one CPU a single thread, so the threads are named here.
    # vLLM on CPUs has a process of its own for the worker, to set its threads there; with them set,
    # one import of
    # vLLM less: an engine starts in 36 to 40 s instead of 49 to 54 s on two cores.
    bound = {"OMP_NUM_THREADS": str(engine.threads), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    return {**on_cpus, **bound, "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
