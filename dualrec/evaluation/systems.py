"""The systems under comparison: each one's list for every traced user, and its metrics. Knows traces; not Ray or files.

The language model's systems stand in the table once for each decoding that was tried: under their plain names for the
decoding in force, with the decoding's name behind for another.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pyarrow as pa

from dualrec.data.titles import year_of
from dualrec.evaluation.baselines.most_popular import most_popular_list, popularity_order
from dualrec.evaluation.baselines.random_items import random_list
from dualrec.evaluation.metrics import Listed, intervals, user_metrics
from dualrec.evaluation.published import PUBLISHED
from dualrec.ranking import fused_list, language_list, paper_list
from dualrec.requests import Decoding, Protocol
from dualrec.settings import EvaluationSettings

LENGTH = 10

Trace = dict[str, Any]
Lists = dict[str, list[int | None]]


def measure(
    traces: Mapping[Decoding, list[Trace]],
    weights: Mapping[Decoding, float],
    catalogue: pa.Table,
    protocol: Protocol,
    settings: EvaluationSettings,
    titles: int,
) -> dict[str, Any]:
    """The metrics of every system on the traces of one protocol, as metrics.json holds them.

    Args:
        traces: schema TRACES, the same users in the same order for each decoding; the decoding in force first.
        weights: those of the fused list.
        titles: how many an answer should hold.
    """
    item_ids, popularity = (catalogue.column(name).to_numpy() for name in ("item_id", "popularity"))
    genres = {row["item_id"]: frozenset(row["genres"]) for row in catalogue.select(["item_id", "genres"]).to_pylist()}
    order = popularity_order(item_ids, popularity)
    in_force = next(iter(traces))
    metrics: dict[str, list[dict[str, float]]] = {}
    for decoding, users in traces.items():
        for trace in users:
            lists = _language_lists(trace, weights[decoding])
            if decoding == in_force:
                lists = _plain_lists(trace, item_ids, order, settings.seed) | lists
            for system, items in lists.items():
                listed = Listed(items, trace["held_out"], trace["item_ids"])
                if system == "language model alone":
                    listed = replace(
                        listed,
                        titles_written=trace["title_item_ids"],
                        well_formed=well_formed(trace["titles"], titles),
                    )
                name = system if decoding == in_force else f"{system}, {decoding} decoding"
                metrics.setdefault(name, []).append(user_metrics(listed, genres))
    return {
        "users": len(traces[in_force]),
        "models": {system: _with_intervals(users, settings) for system, users in metrics.items()},
        "published": {row.name: asdict(row) for row in PUBLISHED[protocol]},
    }


def well_formed(titles: list[str], wanted: int) -> bool:
    """Whether an answer holds as many titles as were asked for, each with its year."""
    return len(titles) == wanted and all(year_of(title) is not None for title in titles)


def _plain_lists(trace: Trace, item_ids: np.ndarray, order: np.ndarray, seed: int) -> Lists:
    return {
        "Random": [*random_list(trace["user_id"], trace["item_ids"], item_ids, LENGTH, seed)],
        "MostPop": [*most_popular_list(trace["item_ids"], order, LENGTH)],
        "sequence model alone": trace["sequence_item_ids"][:LENGTH],
    }


def _language_lists(trace: Trace, weight: float) -> Lists:
    return {
        "language model alone": [place.item_id for place in language_list(trace, LENGTH)],
        "paper": [place.item_id for place in paper_list(trace, LENGTH)],
        "fused": [place.item_id for place in fused_list(trace, weight, LENGTH)],
    }


def _with_intervals(users: list[dict[str, float]], settings: EvaluationSettings) -> dict[str, dict[str, float | None]]:
    names = list(users[0])
    values = np.array([[user[name] for name in names] for user in users])
    bounds = intervals(values, settings.bootstrap_samples, settings.seed)
    return {
        name: {
            key: None if math.isnan(value) else float(value)
            for key, value in zip(("value", "low", "high"), row, strict=True)
        }
        for name, row in zip(names, bounds, strict=True)
    }
