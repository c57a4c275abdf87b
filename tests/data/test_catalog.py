import pyarrow as pa
import pytest

from dualrec.data.catalog import build_catalog, count_without_year
from dualrec.errors import InputError

ITEMS = pa.table(
    {
        "item_id": pa.array([30, 10, 20], pa.int64()),
        "title": ["C (1990)", "A", "B (1991)"],
        "year": pa.array([1990, None, 1991], pa.int16()),
        "genres": pa.array([["War"], [], ["Drama"]], pa.list_(pa.string())),
    }
)
COUNTS = pa.table({"item_id": [10, 20, 20], "count": [1, 2, 3]})


def test_the_most_watched_are_kept_in_order_of_their_ids() -> None:
    catalog = build_catalog(ITEMS, COUNTS, 2)
    assert catalog.select(["item_id", "popularity"]).to_pylist() == [
        {"item_id": 10, "popularity": 1},
        {"item_id": 20, "popularity": 5},
    ]
    assert count_without_year(catalog) == 1


def test_zero_keeps_every_item_described() -> None:
    assert build_catalog(ITEMS, COUNTS, 0).column("item_id").to_pylist() == [10, 20, 30]


def test_no_training_interaction_is_an_error() -> None:
    with pytest.raises(InputError, match="no training user has watched any item"):
        build_catalog(ITEMS, COUNTS.slice(0, 0), 2)
