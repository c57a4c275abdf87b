"""The answers of every system with a language model in it: ours, its variants, and the published
leak.

What the models are asked, and the systems' lists from their traces; predictions.py has the traces.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data

from dualrec.config.settings import Settings, VariantSettings, overridden
from dualrec.data.prepare import Prepared
from dualrec.data.requests import made_for
from dualrec.errors import SettingsError
from dualrec.evaluation.answer_leak import LEAK, reranked_against_answers
from dualrec.evaluation.answers import Answers, listed_first, numbers_of_lists
from dualrec.evaluation.metrics import LENGTH
from dualrec.evaluation.protocols import Cases
from dualrec.evaluation.scorers import SEQUENCE, Asked
from dualrec.evaluation.title_shares import title_shares
from dualrec.language.artifact import language_version
from dualrec.language.rerank import title_embeddings, title_vectors
from dualrec.ranking.lists import fused_list, language_list, paper_list
from dualrec.storage.schemas import REQUESTS
from dualrec.storage.workspace import Workspace

LANGUAGE, PAPER, FUSED = "language model alone", "paper", "fused"
IN_FORCE = VariantSettings(name="in force", fused=True)

Trace = dict[str, Any]


@dataclass(frozen=True)
class Predictions:
    """What the models of one variant answered to the cases.

    Attributes:
        traces: schema TRACES, one row a case and purpose.
        seconds_per_user: what answering took, the start of the engine included.
        fit: how the fused list's weight was chosen, as fusion.fit_weight gives it; None where there
            is no fused list.
    """

    traces: pa.Table
    seconds_per_user: float
    fit: dict[str, Any] | None


@dataclass
class LanguageAnswers:
    """What the systems of one variant answered.

    Attributes:
        answers: system to protocol to answers.
        shares: protocol to the metrics of the titles written, float64 (n,) each; of the language
            model alone.
        fit: how the fused list's weight was chosen, as fusion.fit_weight gives it; None where there
            is no fused list.
        tokens_per_user: generated.
    """

    answers: dict[str, dict[str, Answers]]
    shares: dict[str, dict[str, np.ndarray]]
    fit: dict[str, Any] | None
    tokens_per_user: float


def settings_of(settings: Settings, data: Prepared, variant: VariantSettings) -> Settings:
    """The settings with a variant's changes. It is served by the model in force, unless it sets
    `language.tuned`.

    Where a variant changes no setting they stay as they are, and so do the versions of what is made
    with them.

    Raises:
        SettingsError: a changed key is unknown or its value not allowed; names the variant.
    """
    if not variant.set:
        return settings
    changes = dict(variant.set)
    if settings.language.tuned == "current":
        changes = {"language.tuned": language_version(data, settings)} | changes
    return changed(settings, variant, changes)


def changed(settings: Settings, variant: VariantSettings, changes: dict[str, Any]) -> Settings:
    """The settings with changes, by dotted names, that are those of a variant.

    Raises:
        SettingsError: a key is unknown or its value not allowed; names the variant.
    """
    try:
        return overridden(
            settings, [f"{key}={json.dumps(value)}" for key, value in changes.items()]
        )
    except SettingsError as error:
        raise SettingsError(f"evaluation.variants, {variant.name}: {error}") from error


def system_name(system: str, variant: VariantSettings) -> str:
    """A system's row under a variant."""
    return system if variant is IN_FORCE else f"{system}, {variant.name}"


def language_answers(
    workspace: Workspace,
    data: Prepared,
    settings: Settings,
    variant: VariantSettings,
    asked: Asked,
    others: dict[str, dict[str, Answers]],
    predictions: Predictions,
) -> LanguageAnswers:
    """Make the lists of one variant's systems. Needs a Ray session where titles are to be embedded.

    Args:
        settings: the variant's (see settings_of).
        others: the scoring systems' answers, which rank the candidates that a list leaves out.

    Raises:
        AssetError: the sentence encoder cannot be had.
    """
    traces, fit, seconds = predictions.traces, predictions.fit, predictions.seconds_per_user
    item_ids = data.catalog.column("item_id").to_numpy()
    found = LanguageAnswers({}, {}, fit, _mean_tokens(traces))
    for protocol, cases in asked.items():
        rows_of = (
            made_for(traces, purpose_of(protocol), settings.language.decoding)
            .sort_by("user_id")
            .to_pylist()
        )
        assert [row["user_id"] for row in rows_of] == cases.user_ids.tolist(), (
            "every request gives one trace"
        )
        lists = dict(_lists(rows_of, settings, variant, fit))
        if variant is IN_FORCE and settings.language.mode == "generate":
            vectors = _vectors(rows_of, workspace, data, settings)
            lists[LEAK] = [reranked_against_answers(row, vectors, LENGTH) for row in rows_of]
        for system, one in lists.items():
            behind = "Random" if system.startswith(LANGUAGE) else SEQUENCE
            numbers = numbers_of_lists(one, item_ids)
            answers = listed_first(numbers, others[behind][protocol].candidate_scores, cases)
            found.answers.setdefault(system, {})[protocol] = Answers(
                answers.lists, answers.candidate_scores, seconds
            )
        found.shares[protocol] = title_shares(rows_of, settings.language.titles)
    return found


def purpose_of(protocol: str) -> str:
    """The purpose of a protocol's requests: candidates are ranked by the answer to the same request
    as next_item's."""
    return "next_item" if protocol == "candidates_20" else protocol


def requests_of(
    data: Prepared, settings: Settings, variant: VariantSettings, asked: Asked
) -> ray.data.Dataset:
    """What the models of a variant are asked, a dataset of schema REQUESTS."""
    item_ids = data.catalog.column("item_id").to_numpy()
    of_purpose = {purpose_of(protocol): cases for protocol, cases in asked.items()}
    tables = []
    for purpose, cases in of_purpose.items():
        visible = _shuffled(cases, settings.evaluation.seed) if variant.shuffled else cases.visible
        columns = {
            "user_id": cases.user_ids,
            "purpose": [purpose] * len(cases),
            "decoding": [settings.language.decoding] * len(cases),
            "item_ids": [item_ids[numbers - 1] for numbers in visible],
            "held_out": [item_ids[numbers - 1] for numbers in cases.truth],
        }
        tables.append(
            pa.table(
                [pa.array(columns[field.name], field.type) for field in REQUESTS], schema=REQUESTS
            )
        )
    return ray.data.from_arrow(tables)


def _shuffled(cases: Cases, seed: int) -> list[np.ndarray]:
    """The histories, each with another user than its own."""
    order = np.random.default_rng(seed).permutation(len(cases))
    visible = list(cases.visible)
    for place, other in zip(order, np.roll(order, 1), strict=True):
        visible[place] = cases.visible[other]
    return visible


def _lists(
    traces: list[Trace], settings: Settings, variant: VariantSettings, fit: dict[str, Any] | None
) -> Iterator[tuple[str, list[list[int | None]]]]:
    yield (
        system_name(LANGUAGE, variant),
        [[one.item_id for one in language_list(row, LENGTH)] for row in traces],
    )
    if settings.language.mode == "generate":
        yield (
            system_name(PAPER, variant),
            [[one.item_id for one in paper_list(row, LENGTH)] for row in traces],
        )
    if fit is not None:
        weight = fit["weight"]
        yield (
            system_name(FUSED, variant),
            [[one.item_id for one in fused_list(row, weight, LENGTH)] for row in traces],
        )


def _vectors(
    traces: list[Trace], workspace: Workspace, data: Prepared, settings: Settings
) -> dict[str | int, np.ndarray]:
    """Unit vectors of all items by id, and of the titles in no catalog."""
    item_ids = data.catalog.column("item_id").to_pylist()
    embeddings = ray.get(title_embeddings(workspace, data, settings))
    vectors: dict[str | int, np.ndarray] = dict(zip(item_ids, embeddings, strict=True))
    unknown = sorted(
        {
            title
            for row in traces
            for title, item in zip(row["titles"], row["title_item_ids"], strict=True)
            if item is None
        }
    )
    return vectors | (
        dict(zip(unknown, title_vectors(unknown, settings), strict=True)) if unknown else {}
    )


def _mean_tokens(traces: pa.Table) -> float:
    tokens = [count for count in traces.column("generated_tokens").to_pylist() if count is not None]
    return float(np.mean(tokens)) if tokens else 0.0
