from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dualrec.errors import InputError
from dualrec.evaluation.lists import LISTS, lists_table, read_lists
from dualrec.evaluation.protocols import Cases, with_candidates

ITEM_IDS = np.array([10, 20, 30, 40])
CASES = Cases(np.array([1, 2]), [np.array([1]), np.array([2])], [np.array([3]), np.array([3])])
ASKED = {"next_item": CASES, "candidates_20": with_candidates(CASES, 4, range(1))}
ROWS = [
    ("next_item", 1, 1, 30),
    ("next_item", 1, 2, None),
    ("next_item", 2, 2, 10),
    ("next_item", 2, 1, 40),
]


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., str]:
    def write(rows: list[tuple], version: str = "v1") -> str:
        columns = [list(column) for column in zip(*rows, strict=True)] + [[version] * len(rows)]
        table = pa.table(
            [pa.array(c, f.type) for c, f in zip(columns, LISTS, strict=True)], schema=LISTS
        )
        pq.write_table(table, tmp_path / "lists.parquet")
        return str(tmp_path / "lists.parquet")

    return write


def test_lists_are_read_in_the_order_of_their_ranks(written: Callable[..., str]) -> None:
    lists = read_lists(written(ROWS), ASKED, ITEM_IDS, "v1")["next_item"].lists
    assert lists[:, :3].tolist() == [[3, -1, 0], [4, 1, 0]]


def test_what_is_measured_can_be_written_and_read_again(tmp_path: Path) -> None:
    lists = np.zeros((2, 20), np.int32)
    lists[0, :3], lists[1, 0] = [2, -1, 4], 1
    table = lists_table("ours", "next_item", CASES, lists, ITEM_IDS, "v1")
    assert table.select(["user_id", "rank", "item_id"]).to_pylist()[1] == {
        "user_id": 1,
        "rank": 2,
        "item_id": None,
    }
    pq.write_table(table, tmp_path / "lists.parquet")
    read = read_lists(str(tmp_path / "lists.parquet"), ASKED, ITEM_IDS, "v1")["next_item"].lists
    assert (read == lists).all()


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        (ROWS[:2], r"1 users have no list \(2\)"),
        ([*ROWS, ("next_item", 5, 1, 10)], r"1 users are not asked about \(5\)"),
        ([*ROWS, ("next_item", 1, 3, 99)], r"1 items are in no catalog \(99\)"),
        ([*ROWS, ("next_item", 1, 2, 10)], r"1 users have a rank twice \(1\)"),
        ([*ROWS, ("next_item", 1, 3, 30)], r"1 users have an item twice \(1\)"),
        ([*ROWS, ("next_item", 1, 0, 10)], r"1 ranks are below 1 \(0\)"),
        (
            [*ROWS, ("next_year", 1, 1, 10)],
            "the protocol next_year cannot be measured here; there are next_item",
        ),
        ([*ROWS, ("candidates_20", 1, 1, 10)], "candidates_20 cannot be measured"),
    ],
)
def test_a_faulty_table_gives_an_error_that_counts_and_names(
    written: Callable[..., str], rows: list[tuple], complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        read_lists(written(rows), ASKED, ITEM_IDS, "v1")


def test_lists_from_other_data_are_refused(written: Callable[..., str]) -> None:
    with pytest.raises(InputError, match="made from the histories v0, but the truth here is of v1"):
        read_lists(written(ROWS, "v0"), ASKED, ITEM_IDS, "v1")


def test_a_missing_file_and_a_missing_column_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no Parquet file of lists can be read there"):
        read_lists(str(tmp_path / "none.parquet"), ASKED, ITEM_IDS, "v1")
    pq.write_table(pa.table({"user_id": [1]}), tmp_path / "lists.parquet")
    with pytest.raises(InputError, match="the column 'protocol'"):
        read_lists(str(tmp_path / "lists.parquet"), ASKED, ITEM_IDS, "v1")


def test_a_system_that_lists_nothing_stands_beside_one_that_does() -> None:
    nothing = lists_table("silent", "next_item", CASES, np.zeros((2, 20), np.int32), ITEM_IDS, "v1")
    some = lists_table("ours", "next_item", CASES, np.ones((2, 20), np.int32), ITEM_IDS, "v1")
    assert len(nothing) == 0 and len(pa.concat_tables([nothing, some])) == 40
