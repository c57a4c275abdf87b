"""From traces to lists: the weight of the fused list, the rows of the table, and what the language
model did for them."""

from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data

from dualrec.config.settings import Settings
from dualrec.data.prepare import Prepared
from dualrec.data.pseudonyms import with_hashed_users
from dualrec.data.requests import made_for
from dualrec.ranking.fusion import PURPOSE, fit_weight, fusion_name
from dualrec.ranking.lists import ListWriter
from dualrec.scoring.models import Models
from dualrec.storage.schemas import TRACES
from dualrec.storage.workspace import Workspace

USERS_A_BATCH = 1024  # whose lists are made together
OUTCOME_COLUMNS = [
    "user_id",
    "prompt_tokens",
    "generated_tokens",
    "error",
    "title_matches",
]  # of traces, for `outcome`


def traces_for(traces: ray.data.Dataset, purpose: str, settings: Settings) -> ray.data.Dataset:
    """The traces of one purpose, of the decoding in force."""
    only = {"purpose": purpose, "decoding": settings.language.decoding}
    return traces.map_batches(made_for, fn_kwargs=only, batch_format="pyarrow", batch_size=None)


def fused_weight(
    traces: ray.data.Dataset, workspace: Workspace, data: Prepared, settings: Settings
) -> float:
    """The weight of the language model in the lists, from the calibration requests among the
    traces, or as it is kept."""
    if settings.ranking.preset != "fused":
        return 0.0
    tables: list[pa.Table] = []
    if not workspace.has(
        fusion_name(data, settings)
    ):  # else the traces are not needed, and are many
        rows = traces_for(traces, PURPOSE, settings)
        tables = [
            batch
            for batch in rows.iter_batches(batch_format="pyarrow", batch_size=None)
            if len(batch)
        ]
    found = pa.concat_tables(tables) if tables else TRACES.empty_table()
    return float(fit_weight(found, workspace, data, settings)["weight"])


def lists_of(
    traces: ray.data.Dataset, models: Models, settings: Settings, run_date: date, weight: float
) -> ray.data.Dataset:
    """The lists (schema RECOMMENDATIONS) of the users of some traces."""
    ranking = {
        "preset": settings.ranking.preset,
        "weight": weight,
        "length": settings.ranking.length,
    }
    return traces.map_batches(
        _lists,
        fn_kwargs={"known": list(models.stored.values()), **ranking, "run_date": run_date},
        batch_format="pyarrow",
        batch_size=USERS_A_BATCH,
    )


def with_pseudonyms(traces: ray.data.Dataset, salt: bytes | None) -> ray.data.Dataset:
    """The traces with hashed users, where there is a salt."""
    if salt is None:
        return traces
    # By reference, so that it lies in the object store alone: what a task is given by value, Ray
    # notes and may show.
    return traces.map_batches(
        _hashed, fn_kwargs={"salt": [ray.put(salt)]}, batch_format="pyarrow", batch_size=None
    )


def outcome(traces: pa.Table) -> dict[str, Any]:
    """What the language model did for some users: `errors`, tokens, and `titles` by how they were
    tied to items.

    Args:
        traces: OUTCOME_COLUMNS of schema TRACES.
    """
    matches = pc.value_counts(pc.list_flatten(traces.column("title_matches"))).to_pylist()
    found = {row["values"]: row["counts"] for row in matches}
    return {
        "errors": len(traces) - traces.column("error").null_count,
        "prompt_tokens": pc.sum(traces.column("prompt_tokens")).as_py() or 0,
        "generated_tokens": pc.sum(traces.column("generated_tokens")).as_py() or 0,
        "titles": {match: found.get(match, 0) for match in ("exact", "fuzzy", "none")},
    }


def _lists(traces: pa.Table, known: list["ray.ObjectRef[Any]"], **ranking: Any) -> pa.Table:
    return ListWriter(*ray.get(known), **ranking)(traces)


def _hashed(traces: pa.Table, salt: list["ray.ObjectRef[bytes]"]) -> pa.Table:
    return with_hashed_users(traces, ray.get(salt[0]))
