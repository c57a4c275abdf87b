import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dualrec.config.settings import Columns
from dualrec.data.catalog import build_catalog
from dualrec.data.files import DataFile
from dualrec.data.tables import csv_layout, interaction_columns, read_item_table, read_row_group
from dualrec.errors import InputError

OWN = Columns(
    user_id="member", item_id="film", timestamp="at", rating=None, title="name", genres="kinds"
)


def test_a_parquet_table_with_names_and_times_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "views.parquet"
    at = [datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 2, tzinfo=UTC)]
    pq.write_table(
        pa.table({"member": [1, 2], "film": pa.array([7, 8], pa.int32()), "at": at}), path
    )
    table = read_row_group(DataFile.local(path), OWN, 0)
    assert table.column("item_id").to_pylist() == [7, 8]
    assert table.column("timestamp").to_pylist() == [moment.timestamp() for moment in at]


def test_a_missing_column_is_named_with_the_setting_that_mends_it(tmp_path: Path) -> None:
    path = tmp_path / "views.csv"
    path.write_text("member,movie,at\n1,2,3\n")
    with pytest.raises(InputError, match=r"no column 'film' .*--set data.columns.item_id=NAME"):
        csv_layout(DataFile.local(path), OWN)


def test_an_empty_value_is_named_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "views.parquet"
    pq.write_table(pa.table({"member": [1, None], "film": [7, 8], "at": [1, 2]}), path)
    with pytest.raises(InputError, match="column 'member', row 2: is empty"):
        read_row_group(DataFile.local(path), OWN, 0)


def test_items_with_joined_or_listed_genres(tmp_path: Path) -> None:
    joined, listed = tmp_path / "films.csv", tmp_path / "films.parquet"
    joined.write_text("film,name,kinds\n7,Heat (1995),Action|Crime\n")
    pq.write_table(
        pa.table({"film": [7], "name": ["Heat (1995)"], "kinds": [["Action", "Crime"]]}), listed
    )
    expected = [{"item_id": 7, "title": "Heat (1995)", "year": 1995, "genres": ["Action", "Crime"]}]
    assert (
        read_item_table(joined, OWN).to_pylist()
        == read_item_table(listed, OWN).to_pylist()
        == expected
    )


def test_an_item_described_twice_is_named(tmp_path: Path) -> None:
    path = tmp_path / "films.csv"
    path.write_text("film,name,kinds\n7,Heat,Action\n7,Ran,War\n")
    with pytest.raises(InputError, match="row 2: item 7 is described twice"):
        read_item_table(path, OWN)


def test_a_file_that_is_no_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "views.parquet"
    path.write_text("not parquet")
    with pytest.raises(InputError, match="views.parquet cannot be read"):
        interaction_columns(DataFile.local(path), OWN)


class _Runs:
    """Touches a file where it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.canary,)


@pytest.mark.parametrize(
    "nested", [lambda kind: kind, pa.list_, lambda kind: pa.struct([("x", kind)])]
)
@pytest.mark.parametrize("name", ["item_id", "title", "year", "genres", "another"])
def test_a_column_of_pickles_is_not_unpickled(
    tmp_path: Path, name: str, nested: Callable[[pa.DataType], pa.DataType]
) -> None:
    from ray.data._internal.object_extensions.arrow import ArrowPythonObjectType

    canary, path = tmp_path / "canary", tmp_path / "items.parquet"
    pickled = pickle.dumps(_Runs(canary))
    value = {"x": pickled} if nested(pa.int8()) == pa.struct([("x", pa.int8())]) else [pickled]
    plain = nested(pa.large_binary())
    storage = pa.array([pickled if plain == pa.large_binary() else value], plain)
    columns = {"item_id": pa.array([1]), "title": pa.array(["Heat"]), "year": pa.array([1995]),
               "genres": pa.array([["Crime"]]), name: storage.cast(nested(ArrowPythonObjectType()))}  # fmt: skip
    pq.write_table(pa.table(columns), path)
    assert "arrow_pickled_object" in str(pq.read_schema(path).field(name).type)
    if name == "another":
        assert read_item_table(path, Columns(year="year")).column("title").to_pylist() == ["Heat"]
    else:
        with pytest.raises(InputError, match=f"'{name}'"):
            read_item_table(path, Columns(year="year"))
    assert not canary.exists()


def test_titles_of_a_table_are_taken_as_they_are_whatever_they_hold(tmp_path: Path) -> None:
    titles = [
        '=HYPERLINK("http://x")',
        "two\nlines",
        "nul\x00byte",
        "<|im_end|>",
        "\u202eevil",
        "x" * 70_000,
    ]
    pq.write_table(
        pa.table({"item_id": range(len(titles)), "title": titles}), tmp_path / "items.parquet"
    )
    items = read_item_table(tmp_path / "items.parquet", Columns())
    catalog = build_catalog(items, pa.table({"item_id": [0], "count": [1]}), 0)
    assert catalog.column("title").to_pylist() == titles
    one_line = [title for title in titles if "\n" not in title]
    rows = [
        f'{number},"{title.replace(chr(34), chr(34) * 2)}"' for number, title in enumerate(one_line)
    ]
    (tmp_path / "items.csv").write_bytes(("item_id,title\n" + "\n".join(rows) + "\n").encode())
    assert (
        read_item_table(tmp_path / "items.csv", Columns()).column("title").to_pylist() == one_line
    )
