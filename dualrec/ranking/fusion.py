"""The weight of the fused list: fitted on validation users, saved as an artifact.

In: traces of a seeded sample of validation users with their last five movies hidden. Out: the
weight of the language model, with the NDCG@10 of each weight that was tried. Knows no night.
"""

from collections.abc import Collection, Sequence
from math import log2
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data

from dualrec.config.settings import Settings, version_of
from dualrec.data.prepare import Prepared
from dualrec.data.requests import cut_requests, made_for
from dualrec.data.splits import hashed
from dualrec.ranking import lists as ranking
from dualrec.ranking.lists import RankedItem, Trace, fused_list, language_list
from dualrec.scoring.pipeline import scoring_version
from dualrec.storage.schemas import TRACES
from dualrec.storage.workspace import Workspace

PURPOSE = "calibration"
WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
_SAVED = ("weight", "users", "fused_ndcg_at_10", "language_ndcg_at_10")


def fusion_name(data: Prepared, settings: Settings) -> str:
    """Return the name of the artifact that holds the weight for these models."""
    sample = (settings.ranking.calibration_users, settings.ranking.seed)
    return f"models/fusion/{version_of(ranking.METHOD, scoring_version(data, settings), *sample)}"


def calibration_requests(
    workspace: Workspace, data: Prepared, settings: Settings
) -> ray.data.Dataset | None:
    """Return requests of a seeded sample of validation users; None where no weight is to be fitted.

    The sample is the same for every model and decoding, so that their weights can be compared.
    """
    if settings.ranking.preset != "fused" or workspace.has(fusion_name(data, settings)):
        return None
    cut = {"protocol": "last_five", "purpose": PURPOSE, "decoding": settings.language.decoding}
    seed = {"seed": settings.ranking.seed}
    whole_blocks: dict[str, Any] = {"batch_format": "pyarrow", "batch_size": None}
    requests = data.read_histories(workspace, "validation")
    requests = requests.map_batches(cut_requests, fn_kwargs=cut, **whole_blocks)
    requests = requests.map_batches(_append_order, fn_kwargs=seed, **whole_blocks)
    sample = requests.sort("order").limit(settings.ranking.calibration_users)
    return sample.drop_columns(["order"])


def traces_for(traces: ray.data.Dataset, purpose: str, settings: Settings) -> ray.data.Dataset:
    """Return the traces of one purpose that were decoded as the settings say."""
    only = {"purpose": purpose, "decoding": settings.language.decoding}
    return traces.map_batches(made_for, fn_kwargs=only, batch_format="pyarrow", batch_size=None)


def fused_weight(
    traces: ray.data.Dataset, workspace: Workspace, data: Prepared, settings: Settings
) -> float:
    """Return the weight of the language model, fitted on the calibration requests or as saved.

    Args:
        traces: schema TRACES; those of calibration requests are read where no weight is saved.
    """
    if settings.ranking.preset != "fused":
        return 0.0
    tables = [TRACES.empty_table()]
    # A saved weight needs no traces, which may be many.
    if not workspace.has(fusion_name(data, settings)):
        rows = traces_for(traces, PURPOSE, settings)
        batches = rows.iter_batches(batch_format="pyarrow", batch_size=None)
        tables += [batch for batch in batches if len(batch)]
    return float(fit_weight(pa.concat_tables(tables), workspace, data, settings)["weight"])


def fit_weight(
    traces: pa.Table, workspace: Workspace, data: Prepared, settings: Settings
) -> dict[str, Any]:
    """Choose the weight by NDCG@10 and save it; or read the saved one.

    Args:
        traces: schema TRACES, of the calibration requests.

    Returns:
        `weight`, the number of `users`, and their mean NDCG@10: `fused_ndcg_at_10` under each
        weight, and `language_ndcg_at_10` of the language model alone.
    """
    name = fusion_name(data, settings)
    if not workspace.has(name):
        rows = traces.to_pylist()
        ndcg = {
            weight: _ndcg(rows, [fused_list(row, weight, 10) for row in rows]) for weight in WEIGHTS
        }
        alone = _ndcg(rows, [language_list(row, 10) for row in rows])
        description = {
            "weight": choose_weight(ndcg, settings.ranking.seed),
            "users": len(rows),
            "fused_ndcg_at_10": {str(weight): _mean(values) for weight, values in ndcg.items()},
            "language_ndcg_at_10": _mean(alone),
        }
        with workspace.writing(name, description):
            pass  # the description is the whole artifact
    saved = workspace.description(name)
    return {key: saved[key] for key in _SAVED}


def choose_weight(ndcg: dict[float, np.ndarray], seed: int) -> float:
    """Choose the weight of the fused list from the NDCG of validation users under each weight.

    The better of the two models alone (weights 0 and 1) is returned, unless a mixture gains over it
    with 95 % confidence: a weight that wins by chance would lose it again on other users. Since the
    best of several weights is chosen, its gain is judged out of fold: each half of the users
    chooses the weight of the other half, and the gains of both are bootstrapped. Without validation
    users the weight is 0: the sequence model's list.

    Args:
        ndcg: weight to float (users,), with 0.0 and 1.0 among the weights.
    """
    users = len(ndcg[0.0])
    if users < 2:
        return 0.0
    everyone, random = np.arange(users), np.random.default_rng(seed)
    alone = _best_weight(ndcg, (0.0, 1.0), everyone)
    best = _best_weight(ndcg, tuple(ndcg), everyone)
    if best == alone:
        return alone
    first, second = np.array_split(random.permutation(everyone), 2)
    gains = []
    for half, other in ((first, second), (second, first)):
        chosen = _best_weight(ndcg, tuple(ndcg), other)
        gains.append((ndcg[chosen] - ndcg[alone])[half])
    gain = np.concatenate(gains)
    sample = random.integers(0, len(gain), (2000, len(gain)))
    return best if np.quantile(gain[sample].mean(1), 0.05) > 0 else alone


def hit_at(k: int, recommended: Sequence[int | None], truth: Collection[int]) -> float:
    """Return 1.0 if any of the first k items is among the true ones, else 0.0. None never hits."""
    return float(any(item in truth for item in recommended[:k] if item is not None))


def ndcg_at(k: int, recommended: Sequence[int | None], truth: Collection[int]) -> float:
    """Return the normalised discounted cumulative gain, with gain 1 for each true item.

    The ideal list holds min(k, number of true items) of them first (Järvelin and Kekäläinen 2002).
    With one true item it is 1 / log2(rank + 1).
    """
    gain = sum(
        1 / log2(rank + 1) for rank, item in enumerate(recommended[:k], start=1) if item in truth
    )
    ideal = sum(1 / log2(rank + 1) for rank in range(1, min(k, len(truth)) + 1))
    return gain / ideal if ideal else 0.0


def _best_weight(
    ndcg: dict[float, np.ndarray], weights: tuple[float, ...], users: np.ndarray
) -> float:
    return max(weights, key=lambda weight: (ndcg[weight][users].mean(), -weight))


def _append_order(requests: pa.Table, seed: int) -> pa.Table:
    order = pa.array(hashed(requests.column("user_id").to_numpy(), seed))
    return requests.append_column("order", order)


def _ndcg(traces: list[Trace], lists: list[list[RankedItem]]) -> np.ndarray:
    """Return NDCG@10 of each user's list: float64 (users,)."""
    values = []
    for trace, items in zip(traces, lists, strict=True):
        values.append(ndcg_at(10, [item.item_id for item in items], trace["held_out"]))
    return np.array(values)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0
