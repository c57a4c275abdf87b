"""From answers to figures: every system's metrics under each protocol, with intervals and paired
tests."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from dualrec.baselines.registry import MODULES, PROMPTED_BASELINE
from dualrec.config.settings import EvaluationSettings
from dualrec.evaluation.answer_leak import LEAK
from dualrec.evaluation.answers import Answers, UserMetrics, metrics_of
from dualrec.evaluation.cases import Questions
from dualrec.evaluation.comparison import against_best, as_interval, intervals
from dualrec.evaluation.lists import lists_table
from dualrec.evaluation.metrics import BEYOND, coverage, item_facts
from dualrec.evaluation.protocols import Cases
from dualrec.evaluation.published import PUBLISHED
from dualrec.storage.workspace import Workspace

COMPARED_BY = f"NDCG@{BEYOND}"


@dataclass
class Measured:
    """What the systems answered to the questions on one data set.

    Attributes:
        answers: system to protocol to answers.
        shares: system to protocol to further metrics of its titles, float64 (n,) each.
        fits: how the weight of each fused list was chosen.
        systems: system to what it is, what was chosen for it and what it cost, as metrics.json
            holds it.
    """

    answers: dict[str, dict[str, Answers]]
    shares: dict[str, dict[str, UserMetrics]]
    fits: dict[str, dict[str, Any]]
    systems: dict[str, dict[str, Any]]


def measured(
    workspace: Workspace, question: Questions, found: Measured, folder: str
) -> dict[str, Any]:
    """Every protocol's results as metrics.json holds them; writes the lists beside them.

    Args:
        folder: where the lists go, one Parquet file a protocol.
    """
    settings, data = question.settings.evaluation, question.data
    facts = item_facts(data.catalog, workspace.description(data.histories)["users"]["train"])
    item_ids = data.catalog.column("item_id").to_numpy()
    results = {}
    workspace.filesystem.create_dir(folder, recursive=True)
    for protocol, cases in question.asked.items():
        answers = {system: by[protocol] for system, by in found.answers.items() if protocol in by}
        users = {
            system: metrics_of(one, cases, facts) | found.shares.get(system, {}).get(protocol, {})
            for system, one in answers.items()
        }
        if cases.candidates is None:
            tables = [
                lists_table(system, protocol, cases, one.lists, item_ids, data.version)
                for system, one in answers.items()
            ]
            workspace.write_table(pa.concat_tables(tables), f"{folder}/{protocol}.parquet")
        results[protocol] = {
            "users": len(cases),
            "description": question.descriptions[protocol],
            "models": {
                system: _figures(values, answers[system], cases, len(item_ids), settings)
                for system, values in users.items()
            },
            "against": _against(users, settings),
            "published": {row.name: asdict(row) for row in PUBLISHED.get(protocol, ())},
            "counts": question.counts.get(protocol, {}),
        }
    return results


def _figures(
    values: UserMetrics, answers: Answers, cases: Cases, items: int, settings: EvaluationSettings
) -> dict[str, dict[str, float | None]]:
    bounds = intervals(
        np.stack(list(values.values()), axis=1), settings.bootstrap_samples, settings.seed
    )
    figures = {name: as_interval(row) for name, row in zip(values, bounds, strict=True)}
    if cases.candidates is None:
        figures[f"coverage@{BEYOND}"] = {
            "value": coverage(answers.lists, items),
            "low": None,
            "high": None,
        }
    return figures


def _against(users: dict[str, UserMetrics], settings: EvaluationSettings) -> dict[str, Any]:
    values = {system: metrics[COMPARED_BY] for system, metrics in users.items() if system != LEAK}
    rivals = [name for name in (*MODULES, PROMPTED_BASELINE) if name in values]
    return against_best(values, rivals, COMPARED_BY, settings)
