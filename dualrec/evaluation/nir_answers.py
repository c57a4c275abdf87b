"""NIR's answers: its three prompts through the same engine as ours, one step after another for all
users."""

import time
from functools import partial

import pyarrow as pa
import ray
import ray.data

from dualrec.baselines.nir import (
    QUESTIONS,
    CandidateReader,
    filtered_candidates,
    step_messages,
)
from dualrec.config.settings import LanguageSettings, Settings, overridden
from dualrec.data.catalog import titles_of
from dualrec.data.prepare import Prepared
from dualrec.evaluation.answers import Answers, listed_first, numbers_of_lists
from dualrec.evaluation.fitting import numbered_split
from dualrec.evaluation.language_systems import IN_FORCE, purpose_of, requests_of
from dualrec.evaluation.scorers import Asked
from dualrec.language.generate import generate
from dualrec.language.models import ServedModel
from dualrec.scoring.models import resolve_served_model
from dualrec.storage.workspace import Workspace

MOST_TOKENS = (96, 96, 256)  # of the answer to each step
PROMPT_TOKENS = 1536


def nir_answers(
    workspace: Workspace,
    data: Prepared,
    settings: Settings,
    asked: Asked,
    others: dict[str, dict[str, Answers]],
) -> dict[str, Answers]:
    """Ask the model as it comes, whatever is fine-tuned beside it; protocol to answers.

    Raises:
        AssetError: the language model cannot be had.
    """
    changes = ["language.tuned=null", "language.mode=generate", "language.decoding=free"]
    changes += [
        f"language.max_prompt_tokens={PROMPT_TOKENS}",
        f"language.max_new_tokens={max(MOST_TOKENS)}",
    ]
    settings = overridden(settings, changes)
    model = resolve_served_model(workspace, data, settings)
    started = time.perf_counter()
    rows = _with_candidates(workspace, data, settings, asked)
    reading = {"model": model, "settings": settings.language, "catalog": ray.put(data.catalog)}
    for step in range(len(QUESTIONS)):
        asking = ray.data.from_arrow(rows).map_batches(
            _ask, fn_kwargs={**reading, "step": step}, batch_format="pyarrow", num_cpus=0.1
        )
        answered = generate(asking, model, settings.language).materialize()
        rows = _joined(rows, answered)
    seconds = (time.perf_counter() - started) / max(len(rows), 1)
    read = CandidateReader(data.catalog, settings.rerank.fuzzy_threshold)
    found = {}
    for protocol, cases in asked.items():
        own = [row for row in rows.to_pylist() if row["purpose"] == purpose_of(protocol)]
        lists = [
            read(row["answers"][-1], row["sequence_item_ids"])
            for row in sorted(own, key=lambda one: one["user_id"])
        ]
        numbers = numbers_of_lists(lists, data.catalog.column("item_id").to_numpy())
        answers = listed_first(numbers, others["Random"][protocol].candidate_scores, cases)
        found[protocol] = Answers(answers.lists, answers.candidate_scores, seconds)
    return found


def _with_candidates(
    workspace: Workspace, data: Prepared, settings: Settings, asked: Asked
) -> pa.Table:
    """The requests, with their candidates where ours have the sequence model's choices, and no
    answers yet."""
    item_ids = data.catalog.column("item_id").to_numpy()
    training = numbered_split(workspace, data, "train", item_ids)
    tables = []
    for purpose, cases in {
        purpose_of(protocol): cases for protocol, cases in asked.items()
    }.items():
        requests = pa.concat_tables(
            requests_of(data, settings, IN_FORCE, {purpose: cases}).iter_batches(
                batch_format="pyarrow", batch_size=None
            )
        ).sort_by("user_id")
        numbers = filtered_candidates(cases.visible, training, len(item_ids))
        candidates = [item_ids[row[row > 0] - 1] for row in numbers]
        tables.append(
            requests.append_column("sequence_item_ids", pa.array(candidates, pa.list_(pa.int64())))
            .append_column(
                "sequence_scores",
                pa.array([[0.0] * len(row) for row in candidates], pa.list_(pa.float32())),
            )
            .append_column("answers", pa.array([[]] * len(requests), pa.list_(pa.string())))
        )
    return pa.concat_tables(tables)


def _ask(
    rows: pa.Table,
    model: ServedModel,
    settings: LanguageSettings,
    catalog: "ray.ObjectRef[pa.Table]",
    step: int,
) -> pa.Table:
    from dualrec.language.prompts.chat_template import prompt_tokens, tokenizer_of
    from dualrec.language.prompts.special_tokens import escape_special_tokens
    from dualrec.language.prompts.texts import fitting_prompt, prompt_text
    from dualrec.language.titles import one_line

    assert model.location is not None
    tokenizer = tokenizer_of(str(model.location.folder()))
    published = escape_special_tokens(titles_of(ray.get(catalog)), tokenizer)
    titles = {item: one_line(title) for item, title in published.items()}
    tokens_of = partial(prompt_tokens, tokenizer, model.preset)
    prompts: list[str] = []
    tokens: list[list[int]] = []
    for row in rows.to_pylist():
        candidates = [titles[item] for item in row["sequence_item_ids"]]
        write = partial(step_messages, candidates=candidates, answers=row["answers"])
        recent = [titles[item] for item in row["item_ids"][-settings.history_length :]]
        messages, ids = fitting_prompt(write, recent, tokens_of, settings.max_prompt_tokens)
        prompts.append(prompt_text(messages))
        tokens.append(ids)
    return (
        rows.drop_columns(["answers"])
        .append_column("prompt", pa.array(prompts, pa.string()))
        .append_column("tokenized_prompt", pa.array(tokens, pa.list_(pa.int32())))
        .append_column("max_tokens", pa.array([MOST_TOKENS[step]] * len(rows), pa.int32()))
    )


def _joined(rows: pa.Table, answered: ray.data.Dataset) -> pa.Table:
    """The rows with the answers of one more step; one that failed is empty."""
    given = {
        (row["user_id"], row["purpose"]): row["generated_text"] or ""
        for row in answered.select_columns(["user_id", "purpose", "generated_text"]).iter_rows()
    }
    keys = zip(
        *(rows.column(name).to_pylist() for name in ("user_id", "purpose", "answers")), strict=True
    )
    answers = [[*before, given[user, purpose].strip()] for user, purpose, before in keys]
    return rows.set_column(
        rows.column_names.index("answers"), "answers", pa.array(answers, pa.list_(pa.string()))
    )
