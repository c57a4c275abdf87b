"""What one user watched, and the lists that two nights gave. Reads the user's rows alone, whatever
the night's size."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from dualrec.data.prepare import prepared_as
from dualrec.publishing.manifest import Manifest, published_paths
from dualrec.storage.filesystems import translate_storage_errors
from dualrec.storage.workspace import Workspace


class Watched(NamedTuple):
    """A movie of a history."""

    item_id: int
    title: str
    rating: float | None
    when: datetime


class Listed(NamedTuple):
    """A place of a list, with the titles it rests on, and its rank the night before: None where it
    is new."""

    rank: int
    title: str
    genres: list[str]
    score: float
    source: str
    similar_history: list[str]
    rank_before: int | None


class UserView(NamedTuple):
    """A user as the page shows it.

    Attributes:
        watched: newest first.
        listed: best first; empty where the night has no list for the user.
        dropped: titles that the night before listed and this one does not.
        before: whether the night before had a list.
    """

    user_id: int
    watched: list[Watched]
    listed: list[Listed]
    dropped: list[str]
    before: bool


def user_view(
    workspace: Workspace, night: Manifest, before: Manifest | None, user_id: int
) -> UserView:
    """Read a user's history and lists.

    Raises:
        WorkspaceError: a file is not there, or cannot be read.
    """
    catalog = prepared_as(workspace, night.models["data"]).catalog
    titles = dict(
        zip(*(catalog.column(name).to_pylist() for name in ("item_id", "title")), strict=True)
    )
    listed = _list_of(workspace, night, user_id)
    earlier = _list_of(workspace, before, user_id) if before else []
    ranks = {_key(row): row["rank"] for row in earlier}
    now = {_key(row) for row in listed}
    return UserView(
        user_id,
        _history_of(workspace, night.models["histories"], user_id, titles),
        [_listed(row, titles, ranks) for row in listed],
        [row["title"] for row in earlier if _key(row) not in now],
        bool(earlier),
    )


def _key(row: dict[str, Any]) -> Any:
    return row["title"] if row["item_id"] is None else row["item_id"]


def _listed(row: dict[str, Any], titles: dict[int, str], ranks: dict[Any, int]) -> Listed:
    similar_history = [titles.get(item, f"movie {item}") for item in row["similar_history"] or []]
    return Listed(
        rank=row["rank"],
        title=row["title"],
        genres=row["genres"] or [],
        score=row["score"],
        source=row["source"],
        similar_history=similar_history,
        rank_before=ranks.get(_key(row)),
    )


def _list_of(workspace: Workspace, night: Manifest, user_id: int) -> list[dict[str, Any]]:
    what = f"{workspace.uri}: the night of {night.run_date}"
    rows = _rows_of(workspace, published_paths(workspace, night), user_id, what)
    return sorted(rows.to_pylist(), key=lambda row: row["rank"])


def _history_of(
    workspace: Workspace, histories: str, user_id: int, titles: dict[int, str]
) -> list[Watched]:
    """Newest first."""
    paths = workspace.parquet_files(workspace.content(histories))
    rows = _rows_of(workspace, paths, user_id, f"{workspace.uri}/{histories}").to_pylist()
    return [
        Watched(item, titles.get(item, f"movie {item}"), rating, datetime.fromtimestamp(when, UTC))
        for row in rows
        for item, rating, when in zip(
            row["item_ids"], row["ratings"], row["timestamps"], strict=True
        )
    ][::-1]


def _rows_of(workspace: Workspace, paths: list[str], user_id: int, what: str) -> pa.Table:
    with translate_storage_errors(what):
        files = pads.dataset(paths, filesystem=workspace.filesystem, format="parquet")
        return files.to_table(filter=pc.field("user_id") == user_id)
