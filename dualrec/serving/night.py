"""One published night in memory, with the sequence model and the catalog that made it. Never
changed once it is loaded.

Everything an answer is made of comes from one such object, so no answer mixes two nights. Knows no
HTTP and no Ray.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from dualrec.config.settings import SequenceSettings
from dualrec.data.catalog import numbers_among
from dualrec.data.prepare import prepared_as
from dualrec.errors import PublishError
from dualrec.publishing.manifest import Manifest, numbers, published_paths, read_manifest
from dualrec.sequence.artifact import WEIGHTS
from dualrec.sequence.predict import SequencePredictor
from dualrec.storage.filesystems import translate_storage_errors
from dualrec.storage.schemas import RECOMMENDATIONS, conform
from dualrec.storage.workspace import Workspace

MOST_RECOMMENDATIONS = 100  # of an answer

Movie = dict[str, Any]


@dataclass(frozen=True)
class Publication:
    """Which publication of which night."""

    run_date: date
    number: int
    run_id: str


@dataclass(frozen=True)
class Rows:
    """A table sorted by user, and where each user's rows begin.

    Attributes:
        users: int64 (U,), ascending, each once.
        starts: int64 (U + 1,): the rows of users[i] are starts[i] to starts[i + 1].
    """

    table: pa.Table
    users: np.ndarray
    starts: np.ndarray

    @staticmethod
    def by_user(table: pa.Table, *then_by: str) -> "Rows":
        """Sort a table that has a column user_id."""
        table = table.sort_by(
            [(name, "ascending") for name in ("user_id", *then_by)]
        ).combine_chunks()
        users, starts = np.unique(table.column("user_id").to_numpy(), return_index=True)
        return Rows(table, users, np.append(starts, len(table)))

    def of(self, user_id: int) -> pa.Table | None:
        """A user's rows; None where there are none."""
        place = int(np.searchsorted(self.users, user_id))
        if place == len(self.users) or self.users[place] != user_id:
            return None
        start, end = self.starts[place : place + 2].tolist()
        return self.table.slice(start, end - start)


class Night:
    """The lists of a night and what answers for users who have none.

    Args:
        lists: schema RECOMMENDATIONS without run_date.
        unlisted: user_id and item_ids of the users with a history and without a list.
        catalog: schema CATALOG, ordered by item_id.
        predictor: the sequence model of that night.
    """

    def __init__(
        self,
        publication: Publication,
        lists: Rows,
        unlisted: Rows,
        catalog: pa.Table,
        predictor: SequencePredictor,
    ) -> None:
        self.publication, self.catalog, self.predictor = publication, catalog, predictor
        self._lists, self._unlisted = lists, unlisted
        self._item_ids = catalog.column("item_id").to_numpy()
        self._by_popularity = np.argsort(-catalog.column("popularity").to_numpy(), kind="stable")

    def published(self, user_id: int) -> list[Movie] | None:
        """A user's list as it was published, best first; None where the night has none."""
        rows = self._lists.of(user_id)
        if rows is None:
            return None
        return [
            {**row, "similar_history": self.movies(row["similar_history"] or [])}
            for row in rows.drop(["user_id"]).to_pylist()
        ]

    def history_of(self, user_id: int) -> list[int]:
        """What a user without a list has watched, oldest first; empty for a stranger."""
        rows = self._unlisted.of(user_id)
        return [] if rows is None else list(rows.column("item_ids")[0].as_py())

    def known(self, item_ids: list[int]) -> list[int]:
        """Those of some items that the catalog has, in their order."""
        found = numbers_among(self._item_ids, np.asarray(item_ids, np.int64))
        return [item for item, number in zip(item_ids, found.tolist(), strict=True) if number > 0]

    def movies(self, item_ids: list[int]) -> list[Movie]:
        """Id and title of those items that the catalog has."""
        return [
            {"item_id": row["item_id"], "title": row["title"]}
            for row in self._rows(self.known(item_ids))
        ]

    def by_sequence(
        self, histories: list[list[int]], length: int = MOST_RECOMMENDATIONS
    ) -> list[list[Movie]]:
        """What the sequence model expects next after each of some histories of known items, best
        first."""
        items, scores = self.predictor.top_items([np.asarray(ids, np.int64) for ids in histories])
        return [
            self._ranked(
                best[:length].tolist(), likely.tolist(), "sequence", self.movies(history[-1:])
            )
            for best, likely, history in zip(items, scores, histories, strict=True)
        ]

    def by_popularity(self, length: int) -> list[Movie]:
        """The movies that most training users watched; the score is how many did."""
        rows = self.catalog.take(self._by_popularity[:length])
        counts = [float(count) for count in rows.column("popularity").to_pylist()]
        return self._ranked(rows.column("item_id").to_pylist(), counts, "popularity", [])

    def _rows(self, item_ids: list[int]) -> list[dict[str, Any]]:
        places = numbers_among(self._item_ids, np.asarray(item_ids, np.int64)) - 1
        columns = self.catalog.select(["item_id", "title", "year", "genres"])
        return list(columns.take(places).to_pylist())

    def _ranked(
        self, item_ids: list[int], scores: list[float], source: str, similar_history: list[Movie]
    ) -> list[Movie]:
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


def newest_publication(workspace: Workspace) -> tuple[date, int] | None:
    """Date and number of what stands for the last published date; None where nothing was published."""
    found = numbers(workspace)
    return (last := max(found), found[last][-1]) if found else None


def load_night(workspace: Workspace, run_date: date, number: int) -> Night:
    """Read a published night, its catalog and its sequence model.

    Raises:
        WorkspaceError: a file or a model is not there, or cannot be read.
        PublishError: the manifest is none, or the files hold other rows than it says.
    """
    manifest = read_manifest(workspace, run_date, number)
    lists = Rows.by_user(_lists(workspace, manifest), "rank")
    data = prepared_as(workspace, manifest.models["data"])
    name = manifest.models["sequence"]
    trained_with = SequenceSettings.model_validate(workspace.description(name)["settings"])
    predictor = SequencePredictor(
        workspace.read_bytes(f"{workspace.content(name)}/{WEIGHTS}"),
        trained_with.model_copy(update={"top_k": MOST_RECOMMENDATIONS}),
    )
    unlisted = _unlisted(workspace, manifest.models["histories"], lists.users)
    publication = Publication(run_date, number, manifest.run_id)
    return Night(publication, lists, Rows.by_user(unlisted), data.catalog, predictor)


def _lists(workspace: Workspace, manifest: Manifest) -> pa.Table:
    columns = [name for name in RECOMMENDATIONS.names if name != "run_date"]
    what = f"{workspace.uri}: the night of {manifest.run_date}"
    with translate_storage_errors(what):
        files = pads.dataset(
            published_paths(workspace, manifest), filesystem=workspace.filesystem, format="parquet"
        )
        table = files.to_table(columns=columns)
    if len(table) != manifest.rows:
        raise PublishError(
            f"{what} has {len(table)} rows, and its manifest says {manifest.rows}: restore its files"
        )
    return conform(table, pa.schema([RECOMMENDATIONS.field(name) for name in columns]), what)


def _unlisted(workspace: Workspace, histories: str, listed: np.ndarray) -> pa.Table:
    """user_id and item_ids of those users of some histories who have no list, read a batch at a
    time."""
    schema = pa.schema([("user_id", pa.int64()), ("item_ids", pa.list_(pa.int64()))])
    listed_ids, found = pa.array(listed), [schema.empty_table()]
    with translate_storage_errors(f"{workspace.uri}/{histories}"):
        paths = workspace.parquet_files(workspace.content(histories))
        files = pads.dataset(paths, filesystem=workspace.filesystem, format="parquet")
        for batch in files.to_batches(columns=schema.names):
            missing = pc.invert(pc.is_in(batch.column("user_id"), value_set=listed_ids))
            found.append(pa.table(batch.filter(missing)).cast(schema))
    return pa.concat_tables(found)
