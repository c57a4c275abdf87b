"""The weight of the fused list: chosen on validation users with their last five movies hidden, kept
as an artifact."""

from typing import Any

import numpy as np
import pyarrow as pa
import ray.data

from dualrec.config.settings import Settings, version_of
from dualrec.data.prepare import Prepared
from dualrec.data.requests import cut_requests
from dualrec.data.splits import hashed
from dualrec.ranking import lists as ranking
from dualrec.ranking.accuracy import ndcg_at
from dualrec.ranking.lists import WEIGHTS, Ranked, choose_weight, fused_list, language_list
from dualrec.scoring.pipeline import scoring_version
from dualrec.storage.workspace import Workspace

PURPOSE = "calibration"


def fusion_name(data: Prepared, settings: Settings) -> str:
    """The artifact that holds the weight for these models."""
    sample = (settings.ranking.calibration_users, settings.ranking.seed)
    return f"models/fusion/{version_of(ranking.METHOD, scoring_version(data, settings), *sample)}"


def calibration_requests(
    workspace: Workspace, data: Prepared, settings: Settings
) -> ray.data.Dataset | None:
    """Requests of a seeded sample of validation users, or None where the weight is known or not
    needed.

    The sample is the same for every model and decoding, so that their weights can be compared.
    """
    if settings.ranking.preset != "fused" or workspace.has(fusion_name(data, settings)):
        return None
    cut = {"protocol": "last_five", "purpose": PURPOSE, "decoding": settings.language.decoding}
    return (
        data.read_histories(workspace, "validation")
        .map_batches(cut_requests, fn_kwargs=cut, batch_format="pyarrow", batch_size=None)
        .map_batches(
            _with_order,
            fn_kwargs={"seed": settings.ranking.seed},
            batch_format="pyarrow",
            batch_size=None,
        )
        .sort("order")
        .limit(settings.ranking.calibration_users)
        .drop_columns(["order"])
    )


def _with_order(requests: pa.Table, seed: int) -> pa.Table:
    return requests.append_column(
        "order", pa.array(hashed(requests.column("user_id").to_numpy(), seed))
    )


def fit_weight(
    traces: pa.Table, workspace: Workspace, data: Prepared, settings: Settings
) -> dict[str, Any]:
    """Choose the weight from the traces of the calibration requests by NDCG@10, and keep it; or
    read the one kept.

    Returns:
        `weight`, the number of `users`, and their mean NDCG@10: `fused_ndcg_at_10` under each
        weight, and
        `language_ndcg_at_10` of the language model alone.
    """
    name = fusion_name(data, settings)
    if not workspace.has(name):
        rows = traces.to_pylist()
        gains = {
            weight: _gains(rows, [fused_list(row, weight, 10) for row in rows])
            for weight in WEIGHTS
        }
        alone = _gains(rows, [language_list(row, 10) for row in rows])
        description = {
            "weight": choose_weight(gains, settings.ranking.seed),
            "users": len(rows),
            "fused_ndcg_at_10": {str(weight): _mean(values) for weight, values in gains.items()},
            "language_ndcg_at_10": _mean(alone),
        }
        with workspace.writing(name, description):
            pass  # the description is all there is to keep
    kept = workspace.description(name)
    return {
        key: kept[key] for key in ("weight", "users", "fused_ndcg_at_10", "language_ndcg_at_10")
    }


def _gains(traces: list[dict[str, Any]], lists: list[list[Ranked]]) -> np.ndarray:
    """NDCG@10 of each user's list: float64 (users,)."""
    return np.array(
        [
            ndcg_at(10, [place.item_id for place in places], trace["held_out"])
            for trace, places in zip(traces, lists, strict=True)
        ]
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0
