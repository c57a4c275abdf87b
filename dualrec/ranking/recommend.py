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

from dualrec.cluster.progress import log_progress
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
from dualrec.ranking.fusion import calibration_requests, fused_weight, traces_for
from dualrec.ranking.table import OUTCOME_COLUMNS, lists_of, outcome, with_pseudonyms
from dualrec.scoring.models import load_models
from dualrec.scoring.pipeline import score, scoring_version
from dualrec.storage.schemas import RECOMMENDATIONS, TRACES
from dualrec.storage.workspace import Workspace


@dataclass(frozen=True)
class FurtherRequests:
    """Requests of a later step, answered in one pass with those of `recommend`.

    The engine then starts once for both.

    Attributes:
        requests: schema REQUESTS, of other purposes than "night".
        keep: saves what that step needs of all traces of the pass, a dataset of schema TRACES; its
            second argument is the mean seconds a request.
    """

    requests: ray.data.Dataset
    keep: Callable[[ray.data.Dataset, float], None]


# Called in a Ray session, where users are scored at all.
Further = Callable[[], FurtherRequests | None]


def recommend(settings: Settings, force: bool = False, further: Further | None = None) -> Summary:
    """Score every user of the split and write their lists, unless this run is there.

    Args:
        further: returns requests of a later step to answer in the same pass, or None.

    Raises:
        WorkspaceError: there are no histories or no sequence model, or the workspace cannot be
            written.
        AssetError: a model cannot be had.
        SettingsError: a setting does not suit the model, or the variable of the traces' salt holds
            none.
        DualrecError: not every user got a list.
    """
    workspace = Workspace.of(settings)
    run_date, salt = run_date_of(settings), salt_of(settings.recommend.trace_salt_env)
    data = prepared(workspace, settings)
    run = f"run_date={run_date}/run_id={run_of(data, settings)}"
    state = "already there"
    if not workspace.has(f"recommendations/{run}") or force:
        check_serving(workspace, data, settings)
        with ray_session(settings.cluster):
            _write(workspace, data, settings, run_date, run, salt, further)
        state = "written"
    return _summary(workspace, run, state)


def run_of(data: Prepared, settings: Settings) -> str:
    """Return the version of the lists and traces that these settings give on any date."""
    own = settings.recommend
    # A run without hashed users must not pass for one with them.
    hashed = own.trace_salt_env is not None
    return version_of(
        ranking.METHOD,
        scoring_version(data, settings),
        settings.ranking,
        own.split,
        own.max_users,
        hashed,
    )


def run_date_of(settings: Settings) -> date:
    """Return the run date of the settings; today, UTC, where they name none."""
    return settings.recommend.run_date or datetime.now(UTC).date()


def _write(
    workspace: Workspace,
    data: Prepared,
    settings: Settings,
    run_date: date,
    run: str,
    salt: bytes | None,
    further: Further | None,
) -> None:
    models = load_models(workspace, data, settings)
    users, requests = _requests(workspace, data, settings)
    also = further() if further else None
    if also is not None:
        requests = requests.union(also.requests)
    description: dict[str, Any] = {
        "run_date": str(run_date),
        "split": settings.recommend.split,
        "data_version": data.version,
        "settings": settings.model_dump(mode="json"),
    }
    filesystem = workspace.filesystem
    with (
        workspace.writing(f"recommendations/{run}", description) as lists_folder,
        workspace.writing(f"traces/{run}", description) as traces_folder,
    ):
        scored = f"{lists_folder}/scored"
        count = requests.count()
        started = time.perf_counter()
        with log_progress(count, "requests") as counter:
            scoring = score(requests, models, settings, counter)
            scoring.write_parquet(scored, filesystem=filesystem)
        seconds = time.perf_counter() - started
        traces = ray.data.read_parquet(scored, filesystem=filesystem, partitioning=None)
        weight = fused_weight(traces, workspace, data, settings)
        if also is not None:
            also.keep(traces, seconds / max(count, 1))
        night = traces_for(traces, "night", settings).materialize()
        with_pseudonyms(night, salt).write_parquet(traces_folder, filesystem=filesystem)
        lists = lists_of(night, models, settings, run_date, weight)
        lists.write_parquet(lists_folder, filesystem=filesystem)
        filesystem.delete_dir(scored)
        description |= {
            "requests": count,
            "scoring_seconds": round(seconds, 1),
            "weight": weight,
            "users": users,
            **_verify(workspace, lists_folder, traces_folder, users),
        }


def _requests(
    workspace: Workspace, data: Prepared, settings: Settings
) -> tuple[int, ray.data.Dataset]:
    """Return the number of users to serve, and their requests with those of the calibration."""
    own = settings.recommend
    histories = data.read_histories(workspace, own.split)
    histories = at_most(histories, own.max_users, settings.data.seed)
    users = histories.count()
    decoding = {"decoding": settings.language.decoding}
    requests = histories.map_batches(
        night_requests, fn_kwargs=decoding, batch_format="pyarrow", batch_size=None
    )
    calibration = calibration_requests(workspace, data, settings)
    return users, requests if calibration is None else requests.union(calibration)


def _verify(
    workspace: Workspace, lists_folder: str, traces_folder: str, users: int
) -> dict[str, Any]:
    """Check that every user has one trace and a list, and sum up what the language model did."""
    lists = workspace.read_table(workspace.name_of(lists_folder), RECOMMENDATIONS, ["user_id"])
    traces = workspace.read_table(workspace.name_of(traces_folder), TRACES, OUTCOME_COLUMNS)
    listed = pc.count_distinct(lists.column("user_id")).as_py()
    traced = pc.count_distinct(traces.column("user_id")).as_py()
    if not listed == traced == len(traces) == users:
        raise DualrecError(
            f"{users} users were to be served, but {listed} got a list and {len(traces)} rows were "
            "traced: nothing was published; run the job again, and look into the Ray dashboard for "
            "failed tasks"
        )
    return {"rows": len(lists), **outcome(traces)}


def _summary(workspace: Workspace, run: str, state: str) -> Summary:
    done = workspace.description(f"recommendations/{run}")
    users, titles = max(done["users"], 1), done["titles"]
    written = max(sum(titles.values()), 1)
    tokens_in, tokens_out = done["prompt_tokens"] / users, done["generated_tokens"] / users
    exact, fuzzy, none = (titles[match] / written for match in ("exact", "fuzzy", "none"))
    lines: dict[str, object] = {
        "run": f"{run} ({state})",
        "users": done["users"],
        "rows": done["rows"],
        "scoring": f"{done['scoring_seconds']} s for {done['requests']:,} requests, "
        "the start of the engine included",
        "tokens a user": f"{tokens_in:.0f} in, {tokens_out:.1f} out",
        "titles matched to items": f"{exact:.1%} exactly, {fuzzy:.1%} nearly, "
        f"{none:.1%} in no catalog",
        "rows the language model failed on": done["errors"],
        "weight of the language model": done["weight"],
    }
    uris = {
        name: f"{workspace.uri}/" + workspace.content(f"{name}/{run}")
        for name in ("recommendations", "traces")
    }
    return Summary("recommend", lines, uris, [_example(workspace, run)])


def _example(workspace: Workspace, run: str) -> Table:
    """Return the first five rows of the user with the smallest id."""
    lists = workspace.read_table(workspace.content(f"recommendations/{run}"), RECOMMENDATIONS)
    user = pc.min(lists.column("user_id")).as_py()
    table = Table(title=f"user {user}", title_justify="left")
    for name in ("rank", "title", "genres", "score", "source"):
        table.add_column(name)
    own = lists.filter(pc.equal(lists.column("user_id"), user)).sort_by("rank")
    for row in own.slice(0, 5).to_pylist():
        genres, score = ", ".join(row["genres"]), f"{row['score']:.3f}"
        cells = (str(row["rank"]), row["title"], genres, score, row["source"])
        # No markup, no control codes: the titles are others'.
        table.add_row(*(Text(one_line(cell)) for cell in cells))
    return table
