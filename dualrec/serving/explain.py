"""`dualrec explain`: from a published list back to its reasons, for one user.

Reads the user's rows alone of the snapshot, of the run that scored the user, and of its trace; what
each model added comes from `dualrec.ranking.explain`. Starts no Ray and loads no model.
"""

from datetime import date
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dualrec.config.settings import RankingSettings, Settings
from dualrec.data.prepare import prepared_as
from dualrec.data.pseudonyms import salt_of, with_hashed_users
from dualrec.errors import InputError, PublishError
from dualrec.publishing.manifest import (
    TRACES,
    USERS,
    Manifest,
    last_standing,
    published_paths,
    standing_manifest,
)
from dualrec.ranking.explain import ItemExplanation, explain_item, explain_list
from dualrec.storage.filesystems import told
from dualrec.storage.workspace import Workspace


class UserTrace(NamedTuple):
    """How a published list came about.

    Attributes:
        rows: the published list, best first: rows of schema RECOMMENDATIONS.
        trace: the row of schema TRACES that it was ranked from.
        scored: the run date on which the user was scored, before that of the snapshot where the
            list was carried over.
        weight: of the language model in the ranking of that date.
    """

    rows: list[dict[str, Any]]
    trace: dict[str, Any]
    scored: date
    weight: float


class Explanation(NamedTuple):
    """What `dualrec explain` shows.

    Attributes:
        items: of the whole list, or of the one item that was requested.
        titles: item id to title, of the catalog.
        similar_history: item id to the watched items whose titles are nearest, of listed items.
    """

    user_id: int
    run_date: date
    found: UserTrace
    items: list[ItemExplanation]
    titles: dict[int, str]
    similar_history: dict[int | None, list[int]]
    length: int

    def show(self, console: Console) -> None:
        """Print a table of the items, then the prompt and the language model's answer."""
        trace, scored = self.found.trace, self.found.scored
        when = "" if scored == self.run_date else f", carried over from {scored}"
        table = Table(
            title=f"user {self.user_id}, snapshot of {self.run_date}{when}", title_justify="left"
        )
        for name in ("rank", "movie", "score", "sequence model", "language model", "similar to"):
            table.add_column(name, overflow="fold")
        for item in self.items:
            table.add_row(*(Text(cell) for cell in self._cells(item)))
        console.print(table)
        console.print(f"weight of the language model: {self.found.weight}")
        watched = trace["item_ids"]
        console.print(f"history that the models saw: {len(watched)} movies")
        console.print(Text(f"prompt:\n{trace['prompt']}"))
        console.print(Text(f"answer:\n{trace['generated_text'] or trace['error'] or ''}"))

    def _cells(self, item: ItemExplanation) -> tuple[str, ...]:
        title = item.written if item.item_id is None else self.titles.get(item.item_id)
        absent = item.absence(self.length)
        similar = self.similar_history.get(item.item_id, [])
        return (
            "-" if item.rank is None else str(item.rank),
            f"{title or f'item {item.item_id}'}{f' (not in the list: {absent})' if absent else ''}",
            "-" if item.score is None else f"{item.score:.3f}",
            sequence_words(item),
            language_words(item),
            "; ".join(self.titles.get(watched, f"item {watched}") for watched in similar),
        )


def sequence_words(item: ItemExplanation) -> str:
    """Return in words what the sequence model made of an item."""
    if item.sequence_rank is None:
        return "not among its best items"
    return (
        f"rank {item.sequence_rank}, probability {item.sequence_probability:.4f}: "
        f"{item.by_sequence:+.3f}"
    )


def language_words(item: ItemExplanation) -> str:
    """Return in words what the language model made of an item."""
    if item.language_rank is None:
        return f"not named: {item.by_language:+.3f}" if item.by_language else "not named"
    if item.log_likelihood is not None:
        return (
            f"rank {item.language_rank}, log-likelihood {item.log_likelihood:.3f}: "
            f"{item.by_language:+.3f}"
        )
    match = {"exact": "matched exactly", "fuzzy": "matched by spelling"}.get(
        item.match or "", "in no catalog"
    )
    return f"rank {item.language_rank}, “{item.written}” {match}: {item.by_language:+.3f}"


def explain(
    settings: Settings, user_id: int, item_id: int | None = None, run_date: date | None = None
) -> Explanation:
    """Explain a user's published list, or one item of the catalog, in the list or not.

    Args:
        run_date: of the snapshot; None takes the current one.

    Raises:
        PublishError: no such snapshot, no list of that user in it, or its trace is deleted.
        InputError: the item is not in the catalog.
        SettingsError: traces are pseudonymized, and the salt is not in the environment.
    """
    workspace = Workspace.of(settings)
    manifest = (
        standing_manifest(workspace, run_date) if run_date is not None else last_standing(workspace)
    )
    if manifest is None:
        which = f"no snapshot of {run_date}" if run_date else "no published snapshot"
        raise PublishError(f"{workspace.uri} holds {which}: run `dualrec nightly` first")
    salt = salt_of(settings.recommend.trace_salt_env)
    found = user_trace(workspace, manifest, user_id, salt)
    catalog = prepared_as(workspace, manifest.models["data"]).catalog
    titles = dict(
        zip(catalog.column("item_id").to_pylist(), catalog.column("title").to_pylist(), strict=True)
    )
    if item_id is not None and item_id not in titles:
        raise InputError(
            f"item {item_id} is not in the catalog of the snapshot of {manifest.run_date}, which "
            f"holds the {len(titles):,} movies that can be recommended (data.top_items)"
        )
    length = len(found.rows)
    return Explanation(
        user_id,
        manifest.run_date,
        found,
        explained_items(found, settings.ranking, item_id),
        titles,
        {row["item_id"]: row["similar_history"] or [] for row in found.rows},
        length,
    )


def explained_items(
    found: UserTrace, ranking: RankingSettings, item_id: int | None = None
) -> list[ItemExplanation]:
    """Return the explanation of each row of a list, or of one item.

    Raises:
        PublishError: the settings rank otherwise than those of the run that scored the user.
    """
    listed = explain_list(found.trace, ranking.preset, found.weight, len(found.rows))
    published = [row["score"] for row in found.rows]
    ranked = [item.score for item in listed]
    if len(ranked) != len(published) or not np.allclose(ranked, published, atol=1e-5):
        raise PublishError(
            f"the list was ranked with other settings than ranking.preset={ranking.preset}: give "
            "the settings of the run that scored this user with --config and --set"
        )
    if item_id is None:
        return listed
    return [explain_item(found.trace, ranking.preset, found.weight, item_id)]


def user_trace(
    workspace: Workspace, manifest: Manifest, user_id: int, salt: bytes | None
) -> UserTrace:
    """Find a user's published list and the trace that it was ranked from.

    Raises:
        PublishError: the snapshot has no list of that user, or the trace is not there.
        WorkspaceError: a file cannot be read.
    """
    rows = _rows_of(workspace, published_paths(workspace, manifest), user_id)
    if not rows:
        raise PublishError(
            f"the snapshot of {manifest.run_date} has no list of user {user_id}: it serves the "
            "users of the data source at that time, as recommend.split says"
        )
    users = _rows_of(workspace, workspace.parquet_files(manifest.folder(USERS)), user_id)
    scored = users[0]["scored"] if users else manifest.run_date
    key = user_id if salt is None else _hashed(user_id, salt)
    current = standing_manifest(workspace, scored)
    weight = manifest.metrics.get("weight", 0.0)
    for folder in _trace_folders(workspace, scored, current):
        traces = _rows_of(workspace, workspace.parquet_files(folder), key)
        if traces:
            if current is not None and current.folder(TRACES) == folder:
                weight = current.metrics.get("weight", weight)
            rows.sort(key=lambda row: row["rank"])
            return UserTrace(rows, traces[0], scored, weight)
    if not workspace.files(f"{TRACES}/run_date={scored}"):
        raise PublishError(
            f"user {user_id} was scored on {scored}, and the traces of that run are deleted "
            "(publish.retention_days): run `dualrec nightly --force` to score everybody again"
        )
    raise PublishError(
        f"the traces of {scored} hold no row of user {user_id} under this id: they may name users "
        "by a salted hash; set recommend.trace_salt_env and its variable as in the run of that date"
    )


def _trace_folders(workspace: Workspace, scored: date, current: Manifest | None) -> list[str]:
    """Return the folders of traces of a run date, that of the current snapshot first."""
    parent = f"{TRACES}/run_date={scored}"
    folders = [f"{parent}/{name}" for name in reversed(workspace.folders(parent))]
    first = None if current is None else current.folder(TRACES)
    return sorted(folders, key=lambda folder: folder != first)


def _hashed(user_id: int, salt: bytes) -> int:
    table = pa.table({"user_id": pa.array([user_id], pa.int64())})
    return int(with_hashed_users(table, salt).column("user_id")[0].as_py())


def _rows_of(workspace: Workspace, paths: list[str], user_id: int) -> list[dict[str, Any]]:
    """Read the rows of one user; row groups that cannot hold the user are skipped."""
    if not paths:
        return []
    with told(f"{workspace.uri}: {paths[0]}"):
        files = pads.dataset(paths, filesystem=workspace.filesystem, format="parquet")
        return list(files.to_table(filter=pc.field("user_id") == user_id).to_pylist())
