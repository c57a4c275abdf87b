"""One published snapshot in memory, with its sequence model and catalog, and a watch that replaces
it when another becomes active.

A snapshot never changes once it is loaded, and every response is built from one of them, so no
response mixes two. Knows no HTTP and no Ray.
"""

import logging
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from dualrec.config.settings import SequenceSettings
from dualrec.data.catalog import numbers_among
from dualrec.data.prepare import prepared_as
from dualrec.errors import PublishError
from dualrec.publishing.manifest import (
    Manifest,
    latest_publication,
    published_paths,
    read_manifest,
)
from dualrec.sequence.artifact import WEIGHTS
from dualrec.sequence.predict import SequencePredictor
from dualrec.storage.filesystems import translate_storage_errors
from dualrec.storage.schemas import RECOMMENDATIONS, conform
from dualrec.storage.workspace import Workspace

MAX_RECOMMENDATIONS = 100  # of a response

logger = logging.getLogger(__name__)

MovieRow = dict[str, Any]


@dataclass(frozen=True)
class Publication:
    """Names a published snapshot and the run that wrote it."""

    run_date: date
    number: int
    run_id: str


@dataclass(frozen=True)
class RowsByUser:
    """A table sorted by user, with an index of each user's rows.

    Attributes:
        users: int64 (U,), ascending, each once.
        starts: int64 (U + 1,): the rows of users[i] are starts[i] to starts[i + 1].
    """

    table: pa.Table
    users: np.ndarray
    starts: np.ndarray

    @staticmethod
    def index(table: pa.Table, *then_by: str) -> "RowsByUser":
        """Sort a table that has a column user_id, then by other columns, and index it."""
        table = table.sort_by(
            [(name, "ascending") for name in ("user_id", *then_by)]
        ).combine_chunks()
        users, starts = np.unique(table.column("user_id").to_numpy(), return_index=True)
        return RowsByUser(table, users, np.append(starts, len(table)))

    def for_user(self, user_id: int) -> pa.Table | None:
        """Return a user's rows; None where there are none."""
        position = int(np.searchsorted(self.users, user_id))
        if position == len(self.users) or self.users[position] != user_id:
            return None
        start, end = self.starts[position : position + 2].tolist()
        return self.table.slice(start, end - start)


class PublishedSnapshot:
    """The lists of a snapshot, and the models that recommend to users who have none.

    Args:
        lists: schema RECOMMENDATIONS without run_date.
        unlisted: user_id and item_ids of the users with a history and without a list.
        catalog: schema CATALOG, ordered by item_id.
        predictor: the sequence model of that snapshot.
    """

    def __init__(
        self,
        publication: Publication,
        lists: RowsByUser,
        unlisted: RowsByUser,
        catalog: pa.Table,
        predictor: SequencePredictor,
    ) -> None:
        self.publication, self.catalog, self.predictor = publication, catalog, predictor
        self._lists, self._unlisted = lists, unlisted
        self._item_ids = catalog.column("item_id").to_numpy()
        self._by_popularity = np.argsort(-catalog.column("popularity").to_numpy(), kind="stable")

    def published_list(self, user_id: int) -> list[MovieRow] | None:
        """Return a user's list as it was published, best first; None where there is none."""
        rows = self._lists.for_user(user_id)
        if rows is None:
            return None
        return [
            {**row, "similar_history": self.movies(row["similar_history"] or [])}
            for row in rows.drop(["user_id"]).to_pylist()
        ]

    def unlisted_history(self, user_id: int) -> list[int]:
        """Return the items that a user without a list watched, oldest first; empty for an unknown
        user."""
        rows = self._unlisted.for_user(user_id)
        return [] if rows is None else list(rows.column("item_ids")[0].as_py())

    def known_items(self, item_ids: list[int]) -> list[int]:
        """Return those of some items that the catalog has, in their order."""
        numbers = numbers_among(self._item_ids, np.asarray(item_ids, np.int64)).tolist()
        return [item for item, number in zip(item_ids, numbers, strict=True) if number > 0]

    def movies(self, item_ids: list[int]) -> list[MovieRow]:
        """Return id and title of those items that the catalog has."""
        return [
            {"item_id": row["item_id"], "title": row["title"]}
            for row in self._rows(self.known_items(item_ids))
        ]

    def rank_by_sequence(
        self, histories: list[list[int]], length: int = MAX_RECOMMENDATIONS
    ) -> list[list[MovieRow]]:
        """Return the sequence model's list for each of some histories of known items, best
        first."""
        items, scores = self.predictor.top_items([np.asarray(ids, np.int64) for ids in histories])
        return [
            self._ranked(
                best[:length].tolist(), likely.tolist(), "sequence", self.movies(history[-1:])
            )
            for best, likely, history in zip(items, scores, histories, strict=True)
        ]

    def rank_by_popularity(self, length: int) -> list[MovieRow]:
        """Return the movies that most training users watched; the score is how many did."""
        rows = self.catalog.take(self._by_popularity[:length])
        counts = [float(count) for count in rows.column("popularity").to_pylist()]
        return self._ranked(rows.column("item_id").to_pylist(), counts, "popularity", [])

    def _rows(self, item_ids: list[int]) -> list[dict[str, Any]]:
        positions = numbers_among(self._item_ids, np.asarray(item_ids, np.int64)) - 1
        columns = self.catalog.select(["item_id", "title", "year", "genres"])
        return list(columns.take(positions).to_pylist())

    def _ranked(
        self, item_ids: list[int], scores: list[float], source: str, similar_history: list[MovieRow]
    ) -> list[MovieRow]:
        rows = self._rows(item_ids)
        return [
            {
                "rank": rank,
                **row,
                "score": score,
                "source": source,
                "similar_history": similar_history,
            }
            for rank, (row, score) in enumerate(zip(rows, scores, strict=False), start=1)
        ]


def load_snapshot(workspace: Workspace, run_date: date, number: int) -> PublishedSnapshot:
    """Read a published snapshot, its catalog and its sequence model.

    Raises:
        WorkspaceError: a file or a model is not there, or cannot be read.
        PublishError: the manifest is broken, or the files hold other rows than it says.
    """
    manifest = read_manifest(workspace, run_date, number)
    lists = RowsByUser.index(_lists(workspace, manifest), "rank")
    data = prepared_as(workspace, manifest.models["data"])
    name = manifest.models["sequence"]
    trained_with = SequenceSettings.model_validate(workspace.description(name)["settings"])
    predictor = SequencePredictor(
        workspace.read_bytes(f"{workspace.content(name)}/{WEIGHTS}"),
        trained_with.model_copy(update={"top_k": MAX_RECOMMENDATIONS}),
    )
    unlisted = _unlisted(workspace, manifest.models["histories"], lists.users)
    publication = Publication(run_date, number, manifest.run_id)
    return PublishedSnapshot(
        publication, lists, RowsByUser.index(unlisted), data.catalog, predictor
    )


def _lists(workspace: Workspace, manifest: Manifest) -> pa.Table:
    columns = [name for name in RECOMMENDATIONS.names if name != "run_date"]
    what = f"{workspace.uri}: the snapshot of {manifest.run_date}"
    with translate_storage_errors(what):
        files = pads.dataset(
            published_paths(workspace, manifest), filesystem=workspace.filesystem, format="parquet"
        )
        table = files.to_table(columns=columns)
    if len(table) != manifest.rows:
        raise PublishError(
            f"{what} has {len(table)} rows, and its manifest says {manifest.rows}: "
            "restore its files"
        )
    return conform(table, pa.schema([RECOMMENDATIONS.field(name) for name in columns]), what)


def _unlisted(workspace: Workspace, histories: str, listed: np.ndarray) -> pa.Table:
    """Read user_id and item_ids of the users of some histories who have no list, a batch at a
    time."""
    schema = pa.schema([("user_id", pa.int64()), ("item_ids", pa.list_(pa.int64()))])
    listed_ids, unlisted = pa.array(listed), [schema.empty_table()]
    with translate_storage_errors(f"{workspace.uri}/{histories}"):
        paths = workspace.parquet_files(workspace.content(histories))
        files = pads.dataset(paths, filesystem=workspace.filesystem, format="parquet")
        for batch in files.to_batches(columns=schema.names):
            missing = pc.invert(pc.is_in(batch.column("user_id"), value_set=listed_ids))
            unlisted.append(pa.table(batch.filter(missing)).cast(schema))
    return pa.concat_tables(unlisted)


class SnapshotWatch:
    """Keeps the served snapshot the active one: a new snapshot, or a rollback, replaces it whole.

    Attributes:
        snapshot: what is served; replaced by one assignment, so that a request that took it works
            on one snapshot to its end.
        failure: why a newer snapshot could not be loaded; None where the last check succeeded.
        checked: when the workspace was last read with success.

    Raises:
        PublishError: nothing was published yet.
        DualrecError: the active snapshot cannot be read.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.snapshot = load_snapshot(workspace, *require_publication(workspace))
        self.failure: str | None = None
        self.checked = datetime.now(UTC)

    def refresh(self) -> bool:
        """Load the active snapshot, if it is another one; on a failure keep serving the old one.

        Returns:
            Whether it changed.
        """
        served = self.snapshot.publication
        try:
            latest = latest_publication(self.workspace)
            changed = latest is not None and latest != (served.run_date, served.number)
            if latest is not None and changed:
                self.snapshot = load_snapshot(self.workspace, *latest)
                logger.info(f"serving the snapshot of {latest[0]}, number {latest[1]}")
        except Exception as error:  # noqa: BLE001  whatever a broken snapshot raises, the old one is served
            self.failure = f"{type(error).__name__}: {error}"
            logger.warning(
                f"a newer snapshot cannot be loaded, that of {served.run_date} is served on: "
                f"{self.failure}"
            )
            return False
        self.failure, self.checked = None, datetime.now(UTC)
        return changed


def require_publication(workspace: Workspace) -> tuple[date, int]:
    """Return run date and number of the active snapshot of the last run date.

    Raises:
        PublishError: nothing was published yet.
    """
    latest = latest_publication(workspace)
    if latest is None:
        raise PublishError(
            f"{workspace.uri} holds no published snapshot: run `dualrec nightly` first"
        )
    return latest
