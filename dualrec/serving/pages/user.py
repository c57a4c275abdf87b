"""What one user watched, the lists of two snapshots, and the reasons of the current one.

In: a workspace, a published snapshot and the one before. Out: a UserView. Reads the user's rows
alone, whatever the snapshot's size.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from dualrec.data.catalog import titles_of
from dualrec.data.prepare import prepared_as
from dualrec.errors import DualrecError
from dualrec.publishing.manifest import Manifest
from dualrec.ranking.explain import Reason
from dualrec.serving.explain import answer_of, language_says, sequence_says
from dualrec.serving.explanation import Explanation, explain_user, list_of, user_rows
from dualrec.storage.workspace import Workspace


class Watched(NamedTuple):
    """A movie of a history."""

    item_id: int
    title: str
    rating: float | None
    when: datetime


class Listed(NamedTuple):
    """A row of a list.

    Attributes:
        similar_history: titles of the watched movies with the nearest titles.
        rank_before: in the snapshot before; None where the movie is new.
        reasons: what each model said of the movie; empty where there is no explanation.
    """

    rank: int
    title: str
    genres: list[str]
    score: float
    source: str
    similar_history: list[str]
    rank_before: int | None
    reasons: list[str]


class UserView(NamedTuple):
    """A user as the page shows it.

    Attributes:
        watched: newest first.
        listed: best first; empty where the snapshot has no list for the user.
        dropped: titles that the snapshot before listed and this one does not.
        before: whether the snapshot before had a list.
        explained: the run that scored the list, with prompt and answer; None where `unexplained`
            says why not.
    """

    user_id: int
    watched: list[Watched]
    listed: list[Listed]
    dropped: list[str]
    before: bool
    explained: Explanation | None
    unexplained: str

    @property
    def answer(self) -> str:
        """Return the language model's answer, empty where there is no explanation."""
        return answer_of(self.explained.trace) if self.explained else ""


def user_view(
    workspace: Workspace,
    night: Manifest,
    before: Manifest | None,
    user_id: int,
    salt: bytes | None = None,
) -> UserView:
    """Read a user's history, lists and reasons.

    Args:
        salt: of pseudonymized traces; without it they are not read, and the list has no reasons.

    Raises:
        WorkspaceError: a file is not there, or cannot be read.
    """
    titles = titles_of(prepared_as(workspace, night.models["data"]).catalog)
    rows = list_of(workspace, night, user_id).to_pylist()
    earlier = list_of(workspace, before, user_id).to_pylist() if before else []
    explained: Explanation | None = None
    unexplained = ""
    if rows:
        explained, unexplained = _explained(workspace, night, user_id, salt)
    reasons: Sequence[Reason | None] = explained.reasons if explained else [None] * len(rows)
    ranks = {_key(row): row["rank"] for row in earlier}
    listed = []
    for row, reason in zip(rows, reasons, strict=True):
        similar = [titles.get(item, f"movie {item}") for item in row["similar_history"] or []]
        said = []
        if reason is not None:
            said = [
                f"sequence model: {sequence_says(reason)}",
                f"language model: {language_says(reason)}",
            ]
        listed.append(
            Listed(
                rank=row["rank"],
                title=row["title"],
                genres=row["genres"] or [],
                score=row["score"],
                source=row["source"],
                similar_history=similar,
                rank_before=ranks.get(_key(row)),
                reasons=said,
            )
        )
    current = {_key(row) for row in rows}
    return UserView(
        user_id=user_id,
        watched=_history_of(workspace, night.models["histories"], user_id, titles),
        listed=listed,
        dropped=[row["title"] for row in earlier if _key(row) not in current],
        before=bool(earlier),
        explained=explained,
        unexplained=unexplained,
    )


def _explained(
    workspace: Workspace, night: Manifest, user_id: int, salt: bytes | None
) -> tuple[Explanation | None, str]:
    """Return the explanation of a list, or None and why there is none."""
    try:
        return explain_user(workspace, night, user_id, salt), ""
    except DualrecError as error:
        return None, str(error)


def _key(row: dict[str, Any]) -> Any:
    return row["title"] if row["item_id"] is None else row["item_id"]


def _history_of(
    workspace: Workspace, histories: str, user_id: int, titles: dict[int, str]
) -> list[Watched]:
    """Return a user's history, newest first."""
    paths = workspace.parquet_files(workspace.content(histories))
    rows = user_rows(workspace, paths, [user_id], f"{workspace.uri}/{histories}").to_pylist()
    watched = []
    for row in rows:
        columns = (row[name] for name in ("item_ids", "ratings", "timestamps"))
        for item, rating, seconds in zip(*columns, strict=True):
            when = datetime.fromtimestamp(seconds, UTC)
            watched.append(Watched(item, titles.get(item, f"movie {item}"), rating, when))
    return watched[::-1]
