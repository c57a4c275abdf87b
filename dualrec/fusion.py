"""The weight of the fused list: chosen on validation users with their last five movies hidden, kept as an artefact."""

from typing import Any

import numpy as np
import pyarrow as pa
import ray.data

from dualrec.accuracy import ndcg_at
from dualrec.data.prepare import Prepared
from dualrec.ranking import WEIGHTS, choose_weight, fused_list
from dualrec.requests import cut_requests
from dualrec.scoring import scoring_version
from dualrec.settings import Settings, version_of
from dualrec.workspace import Workspace

PURPOSE = "calibration"


def fusion_name(data: Prepared, settings: Settings) -> str:
    """The artefact that holds the weight for these models."""
    return f"models/fusion/{version_of(scoring_version(data, settings), settings.ranking.calibration_users)}"


def calibration_requests(workspace: Workspace, data: Prepared, settings: Settings) -> ray.data.Dataset | None:
    """Requests of validation users, or None where the weight is known or not needed."""
    if settings.ranking.preset != "fused" or workspace.has(fusion_name(data, settings)):
        return None
    return (
        data.read_histories(workspace, "validation")
        .map_batches(
            cut_requests,
            fn_kwargs={"protocol": "last_five", "purpose": PURPOSE},
            batch_format="pyarrow",
            batch_size=None,
        )
        .limit(settings.ranking.calibration_users)
    )


def fit_weight(traces: pa.Table, workspace: Workspace, data: Prepared, settings: Settings) -> float:
    """Choose the weight from the traces of the calibration requests by NDCG@10, and keep it; or read the one kept."""
    name = fusion_name(data, settings)
    if not workspace.has(name):
        gains = validation_gains(traces.to_pylist())
        weight = choose_weight(gains, settings.ranking.calibration_users)
        means = {str(candidate): float(values.mean()) for candidate, values in gains.items()}
        description = {"weight": weight, "users": len(traces), "validation_ndcg_at_10": means}
        with workspace.writing(name, description):
            pass  # the description is all there is to keep
    return float(workspace.description(name)["weight"])


def validation_gains(traces: list[dict[str, Any]]) -> dict[float, np.ndarray]:
    """NDCG@10 float64 (users,) of the fused list under each weight."""
    gains = {}
    for weight in WEIGHTS:
        lists = [[place.item_id for place in fused_list(trace, weight, 10)] for trace in traces]
        truths = [trace["held_out"] for trace in traces]
        gains[weight] = np.array([ndcg_at(10, ids, truth) for ids, truth in zip(lists, truths, strict=True)])
    return gains
