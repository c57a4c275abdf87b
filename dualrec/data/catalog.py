"""The items that can be recommended, with their popularity among training users. Plain functions on
tables."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dualrec.errors import InputError
from dualrec.storage.schemas import CATALOG, conform


def build_catalog(items: pa.Table, counts: pa.Table, top_items: int) -> pa.Table:
    """Keep the most watched items.

    Args:
        items: item_id, title, year and genres of every item described.
        counts: item_id and count over training users; may hold an item several times.
        top_items: how many to keep; 0 keeps every item described. Ties go to the smaller id.

    Returns:
        Schema CATALOG, ordered by item_id.

    Raises:
        InputError: no training user has watched anything.
    """
    summed = counts.group_by("item_id").aggregate([("count", "sum")])
    if summed.num_rows == 0:
        raise InputError(
            "no training user has watched any item: the data set is too small, or data.train_fraction is 0"
        )
    order = np.argsort(summed.column("item_id").to_numpy())
    ids, values = (
        summed.column("item_id").to_numpy()[order],
        summed.column("count_sum").to_numpy()[order],
    )
    item_ids = items.column("item_id").to_numpy()
    place = np.minimum(np.searchsorted(ids, item_ids), len(ids) - 1)
    popularity = np.where(ids[place] == item_ids, values[place], 0)
    kept = np.lexsort((item_ids, -popularity))
    if top_items:
        kept = kept[:top_items]
        kept = kept[popularity[kept] > 0]
    kept = kept[np.argsort(item_ids[kept])]
    table = items.append_column("popularity", pa.array(popularity, pa.int64())).take(pa.array(kept))
    return conform(table, CATALOG, "catalog")


def numbers_among(item_ids: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Item numbers int64 (n,) of ids int64 (n,): from 1, in the order of `item_ids` (ascending); -1
    for any other id."""
    place = np.minimum(np.searchsorted(item_ids, ids), len(item_ids) - 1)
    return np.where(item_ids[place] == ids, place + 1, -1).astype(np.int64)


def titles_of(catalog: pa.Table) -> dict[int, str]:
    """The published title of each item id."""
    return dict(
        zip(*(catalog.column(name).to_pylist() for name in ("item_id", "title")), strict=True)
    )


def with_titles(catalog: pa.Table, titles: dict[int, str]) -> pa.Table:
    """The catalog with other titles in place of the published ones."""
    named = pa.array([titles[item] for item in catalog.column("item_id").to_pylist()], pa.string())
    return catalog.set_column(catalog.column_names.index("title"), "title", named)


def count_without_year(catalog: pa.Table) -> int:
    """How many items carry no year."""
    return int(pc.sum(pc.is_null(catalog.column("year"))).as_py() or 0)
