"""The job `recommend`: histories and models in; recommendations/ and traces/ of one run out."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import pyarrow.compute as pc
import ray
import ray.data
from rich.table import Table
from rich.text import Text

from dualrec.cluster.progress import logged_progress
from dualrec.cluster.session import ray_session
from dualrec.cluster.summary import Summary
from dualrec.config.settings import Settings, version_of
from dualrec.data.prepare import Prepared, prepared
from dualrec.data.pseudonyms import salt_of
from dualrec.data.requests import night_requests
from dualrec.data.sample import at_most
from dualrec.errors import DualrecError
from dualrec.language.checks import check_serving
from dualrec.language.titles import one_line
from dualrec.ranking import lists as ranking
from dualrec.ranking.fusion import calibration_requests
from dualrec.ranking.listing import (
    OUTCOME_COLUMNS,
    fused_weight,
    lists_of,
    outcome,
    traces_for,
    with_pseudonyms,
)
from dualrec.scoring.models import load_models
from dualrec.scoring.pipeline import score, scoring_version
from dualrec.storage.schemas import RECOMMENDATIONS, TRACES
from dualrec.storage.workspace import Workspace


@dataclass(frozen=True)
class FurtherRequests:
    """Requests of a later step, answered in the same pass as those of `recommend`, so that the
    engine starts once for both.

    Attributes:
        requests: schema REQUESTS, of other purposes than "night".
        keep: keeps what that step needs of all traces of the pass, a dataset of schema TRACES; its
            second argument is the
            mean seconds a request.
    """

    requests: ray.data.Dataset
    keep: Callable[[ray.data.Dataset, float], None]


Further = Callable[
    [], FurtherRequests | None
]  # called in a Ray session, if users are scored at all


def recommend(settings: Settings, force: bool = False, further: Further | None = None) -> Summary:
    """Score every user of the split and write their lists, unless this run is there.

    Args:
        further: gives requests of a later step to answer in the same pass, or None where there are
            none.

    Raises:
        WorkspaceError: there are no histories or no sequence model, or the workspace cannot be
            written.
        AssetError: a model cannot be had.
        SettingsError: a setting does not suit the model, or the variable of the traces' salt holds
            none.
        DualrecError: not every user got a list.
    """
    workspace = Workspace.of(settings)
    run_date, salt = night_of(settings), salt_of(settings.recommend.trace_salt_env)
    data = prepared(workspace, settings)
    place = f"run_date={run_date}/run_id={run_of(data, settings)}"
    state = "already there"
    if not workspace.has(f"recommendations/{place}") or force:
        check_serving(workspace, data, settings)
        with ray_session(settings.cluster):
            _write(workspace, data, settings, run_date, place, salt, further)
        state = "written"
    return _summary(workspace, place, state)


def run_of(data: Prepared, settings: Settings) -> str:
    """The version of the lists and traces that these settings give on any date."""
    own = settings.recommend
    hashed = (
        own.trace_salt_env is not None
    )  # a run without hashed users must not pass for one with them
    return version_of(
        ranking.METHOD,
        scoring_version(data, settings),
        settings.ranking,
        own.split,
        own.max_users,
        hashed,
    )


def _write(
    workspace: Workspace,
    data: Prepared,
    settings: Settings,
    run_date: date,
    place: str,
    salt: bytes | None,
    further: Further | None,
) -> None:
    models = load_models(workspace, data, settings)
    asked = settings.recommend
    histories = at_most(
        data.read_histories(workspace, asked.split), asked.max_users, settings.data.seed
    )
    users = histories.count()
    decoding = settings.language.decoding
    requests = histories.map_batches(
        night_requests, fn_kwargs={"decoding": decoding}, batch_format="pyarrow", batch_size=None
    )
    calibration = calibration_requests(workspace, data, settings)
    if calibration is not None:
        requests = requests.union(calibration)
    also = further() if further else None
    if also is not None:
        requests = requests.union(also.requests)
    made: dict[str, Any] = {
        "run_date": str(run_date),
        "split": settings.recommend.split,
        "data_version": data.version,
    }
    made["settings"] = settings.model_dump(mode="json")
    with (
        workspace.writing(f"recommendations/{place}", made) as lists_folder,
        workspace.writing(f"traces/{place}", made) as traces_folder,
    ):
        scored = f"{lists_folder}/scored"
        made["requests"] = requests.count()
        started = time.perf_counter()
        with logged_progress(made["requests"], "requests") as counter:
            score(requests, models, settings, counter).write_parquet(
                scored, filesystem=workspace.filesystem
            )
        seconds = time.perf_counter() - started
        made["scoring_seconds"] = round(seconds, 1)
        traces = ray.data.read_parquet(scored, filesystem=workspace.filesystem, partitioning=None)
        weight = fused_weight(traces, workspace, data, settings)
        if also is not None:
            also.keep(traces, seconds / max(made["requests"], 1))
        night = traces_for(traces, "night", settings).materialize()
        with_pseudonyms(night, salt).write_parquet(traces_folder, filesystem=workspace.filesystem)
        lists_of(night, models, settings, run_date, weight).write_parquet(
            lists_folder, filesystem=workspace.filesystem
        )
        workspace.filesystem.delete_dir(scored)
        made |= {
            "weight": weight,
            "users": users,
            **_verify(workspace, lists_folder, traces_folder, users),
        }


def _verify(
    workspace: Workspace, lists_folder: str, traces_folder: str, users: int
) -> dict[str, Any]:
    """Check that every user has one trace and a list, and sum up what the language model did."""
    lists = workspace.read_table(workspace.name_of(lists_folder), RECOMMENDATIONS, ["user_id"])
    traces = workspace.read_table(workspace.name_of(traces_folder), TRACES, OUTCOME_COLUMNS)
    served = pc.count_distinct(lists.column("user_id")).as_py()
    if (
        served != users
        or pc.count_distinct(traces.column("user_id")).as_py() != users
        or len(traces) != users
    ):
        raise DualrecError(
            f"{users} users were to be served, but {served} got a list and {len(traces)} rows were traced: "
            "nothing was published; run the job again, and look into the Ray dashboard for failed tasks"
        )
    return {"rows": len(lists), **outcome(traces)}


def night_of(settings: Settings) -> date:
    """The night that the settings name; today, UTC, where they name none."""
    return settings.recommend.run_date or datetime.now(UTC).date()


def _summary(workspace: Workspace, place: str, state: str) -> Summary:
    made = workspace.description(f"recommendations/{place}")
    users, titles = max(made["users"], 1), made["titles"]
    written = max(sum(titles.values()), 1)
    lines: dict[str, object] = {
        "run": f"{place} ({state})",
        "users": made["users"],
        "rows": made["rows"],
        "scoring": f"{made['scoring_seconds']} s for {made['requests']:,} requests, the start of the engine included",
        "tokens a user": f"{made['prompt_tokens'] / users:.0f} in, {made['generated_tokens'] / users:.1f} out",
        "titles tied to items": f"{titles['exact'] / written:.1%} exactly, {titles['fuzzy'] / written:.1%} nearly, "
        f"{titles['none'] / written:.1%} in no catalog",
        "rows the language model failed on": made["errors"],
        "weight of the language model": made["weight"],
    }
    places = {
        name: f"{workspace.uri}/" + workspace.content(f"{name}/{place}")
        for name in ("recommendations", "traces")
    }
    return Summary("recommend", lines, places, [_example(workspace, place)])


def _example(workspace: Workspace, place: str) -> Table:
    first = workspace.read_table(workspace.content(f"recommendations/{place}"), RECOMMENDATIONS)
    user = pc.min(first.column("user_id")).as_py()
    table = Table(title=f"user {user}", title_justify="left")
    for name in ("rank", "title", "genres", "score", "source"):
        table.add_column(name)
    for row in (
        first.filter(pc.equal(first.column("user_id"), user)).sort_by("rank").to_pylist()[:5]
    ):
        told = (
            str(row["rank"]),
            row["title"],
            ", ".join(row["genres"]),
            f"{row['score']:.3f}",
            row["source"],
        )
        table.add_row(
            *(Text(one_line(cell)) for cell in told)
        )  # no markup, no control codes: the titles are others'
    return table
