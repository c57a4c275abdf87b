"""From traces to rows of the recommendations table, and totals of what the language model did.

In: traces (schema TRACES), as a table or a Ray dataset. Out: the same of schema RECOMMENDATIONS.
Knows no workspace; where rows are written is the business of the jobs.
"""

from collections.abc import Iterator
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data

from dualrec.config.settings import Settings
from dualrec.data.catalog import numbers_among
from dualrec.data.pseudonyms import with_hashed_users
from dualrec.ranking.lists import RankedItem, ranked_items
from dualrec.scoring.pipeline import Models
from dualrec.storage.schemas import RECOMMENDATIONS

USERS_A_BATCH = 1024  # whose lists are built together
# Of traces, for `outcome`.
OUTCOME_COLUMNS = ["user_id", "prompt_tokens", "generated_tokens", "error", "title_matches"]


class ListWriter:
    """Turns traces into rows of the recommendations table. Constant-time construction.

    Args:
        catalog: schema CATALOG, ordered by item_id.
        embeddings: float32 (N, d), unit vectors of the titles, in the order of the catalog.
        preset: paper or fused, with its weight.
    """

    def __init__(
        self,
        catalog: pa.Table,
        embeddings: np.ndarray,
        preset: str,
        weight: float,
        length: int,
        run_date: date,
    ) -> None:
        self.catalog, self.item_ids = catalog, catalog.column("item_id").to_numpy()
        self.embeddings, self.preset, self.weight, self.length = embeddings, preset, weight, length
        self.run_date = run_date

    def __call__(self, traces: pa.Table) -> pa.Table:
        """Return the lists of a batch of traces (schema TRACES): schema RECOMMENDATIONS."""
        users = traces.to_pylist()
        lists = [ranked_items(user, self.preset, self.weight, self.length) for user in users]
        item_ids = {item.item_id for items in lists for item in items if item.item_id is not None}
        movies = self._movies(item_ids)
        rows: list[dict[str, Any]] = []
        for user, items in zip(users, lists, strict=True):
            rows += self._rows(user, items, movies)
        return pa.Table.from_pylist(rows, schema=RECOMMENDATIONS)

    def _movies(self, item_ids: set[int]) -> dict[int, dict[str, Any]]:
        """Return the rows of the catalog of some items."""
        rows = numbers_among(self.item_ids, np.array(sorted(item_ids), np.int64)) - 1
        return {row["item_id"]: row for row in self.catalog.take(rows).to_pylist()}

    def _rows(
        self, trace: dict[str, Any], items: list[RankedItem], movies: dict[int, dict[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        for rank, item in enumerate(items, start=1):
            movie = {} if item.item_id is None else movies[item.item_id]
            yield {
                "run_date": self.run_date,
                "user_id": trace["user_id"],
                "rank": rank,
                "item_id": item.item_id,
                "title": movie.get("title", item.title),
                "year": movie.get("year"),
                "genres": movie.get("genres", []),
                "score": item.score,
                "source": item.source,
                "similar_history": self._similar_history(item.item_id, trace["item_ids"]),
            }

    def _similar_history(self, item_id: int | None, history: list[int], most: int = 3) -> list[int]:
        """Return the watched items whose titles are nearest, among the twenty most recent."""
        if item_id is None:
            return []
        rows = numbers_among(self.item_ids, np.array([*history[-20:], item_id], np.int64)) - 1
        recent, row = rows[:-1][rows[:-1] >= 0], rows[-1]
        similarity = self.embeddings[recent] @ self.embeddings[row]
        return self.item_ids[recent[np.argsort(-similarity, kind="stable")[:most]]].tolist()


def lists_of(
    traces: ray.data.Dataset, models: Models, settings: Settings, run_date: date, weight: float
) -> ray.data.Dataset:
    """Return the lists (schema RECOMMENDATIONS) of the users of some traces."""
    own = settings.ranking
    options = {"preset": own.preset, "weight": weight, "length": own.length, "run_date": run_date}
    return traces.map_batches(
        _lists,
        fn_kwargs={"stored": list(models.stored.values()), **options},
        batch_format="pyarrow",
        batch_size=USERS_A_BATCH,
    )


def with_pseudonyms(traces: ray.data.Dataset, salt: bytes | None) -> ray.data.Dataset:
    """Return the traces with hashed users, where there is a salt."""
    if salt is None:
        return traces
    # By reference, so that the salt is in the object store alone: Ray logs and may show what a task
    # gets by value.
    return traces.map_batches(
        _hashed, fn_kwargs={"salt": [ray.put(salt)]}, batch_format="pyarrow", batch_size=None
    )


def outcome(traces: pa.Table) -> dict[str, Any]:
    """Sum up what the language model did: `errors`, tokens, and `titles` by how they matched.

    Args:
        traces: OUTCOME_COLUMNS of schema TRACES.
    """
    matches = pc.value_counts(pc.list_flatten(traces.column("title_matches"))).to_pylist()
    counts = {row["values"]: row["counts"] for row in matches}
    return {
        "errors": len(traces) - traces.column("error").null_count,
        "prompt_tokens": pc.sum(traces.column("prompt_tokens")).as_py() or 0,
        "generated_tokens": pc.sum(traces.column("generated_tokens")).as_py() or 0,
        "titles": {match: counts.get(match, 0) for match in ("exact", "fuzzy", "none")},
    }


def _lists(traces: pa.Table, stored: list["ray.ObjectRef[Any]"], **options: Any) -> pa.Table:
    return ListWriter(*ray.get(stored), **options)(traces)


def _hashed(traces: pa.Table, salt: list["ray.ObjectRef[bytes]"]) -> pa.Table:
    return with_hashed_users(traces, ray.get(salt[0]))
