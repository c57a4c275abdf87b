import numpy as np
import pyarrow as pa

from dualrec.config.settings import DataSettings
from dualrec.data.histories import build_histories, item_counts, keep_items
from dualrec.storage.schemas import INTERACTIONS
from tests.conftest import histories_table


def _interactions(rows: list[tuple[int, int, int, int]], random: np.random.Generator) -> pa.Table:
    """Rows of user, item, time and place in the file, shuffled: order in a block must not matter."""
    rows = [rows[place] for place in random.permutation(len(rows))]
    columns = zip(
        *[(user, item, 4.0, time, place) for user, item, time, place in rows], strict=True
    )
    return pa.table(
        [pa.array(c, f.type) for c, f in zip(columns, INTERACTIONS, strict=True)],
        schema=INTERACTIONS,
    )


def test_histories_are_ordered_by_time_and_then_by_place_in_the_file(
    random: np.random.Generator,
) -> None:
    rows = [(1, 30, 5, 0), (1, 10, 5, 1), (1, 20, 4, 2), (2, 7, 9, 3)]
    histories = build_histories(_interactions(rows, random), DataSettings())
    assert histories.select(["user_id", "item_ids", "timestamps"]).to_pylist() == [
        {"user_id": 1, "item_ids": [20, 30, 10], "timestamps": [4, 5, 5]},
        {"user_id": 2, "item_ids": [7], "timestamps": [9]},
    ]


def test_a_movie_watched_twice_counts_once_at_its_first_time(random: np.random.Generator) -> None:
    histories = build_histories(
        _interactions([(1, 5, 1, 0), (1, 6, 2, 1), (1, 5, 3, 2)], random), DataSettings()
    )
    assert histories.column("item_ids").to_pylist() == [[5, 6]]
    assert histories.column("interactions").to_pylist() == [3]


def test_a_user_whose_items_are_all_left_out_keeps_an_empty_history() -> None:
    kept = keep_items(histories_table({1: [1, 2, 3], 2: [9], 3: []}), np.array([1, 3]))
    assert kept.select(["user_id", "item_ids", "ratings"]).to_pylist() == [
        {"user_id": 1, "item_ids": [1, 3], "ratings": [5.0, 5.0]},
        {"user_id": 2, "item_ids": [], "ratings": []},
        {"user_id": 3, "item_ids": [], "ratings": []},
    ]


def test_only_training_users_are_counted() -> None:
    both = pa.concat_tables(
        [histories_table({1: [1, 2], 2: [2]}), histories_table({3: [1, 2, 3]}, "test")]
    )
    assert item_counts(both).to_pylist() == [{"item_id": 1, "count": 1}, {"item_id": 2, "count": 2}]


def test_what_happens_at_the_moment_or_later_is_left_out_and_counted(
    random: np.random.Generator,
) -> None:
    rows = [(1, 10, 4, 0), (1, 20, 5, 1), (1, 30, 6, 2), (2, 10, 5, 3)]
    histories = build_histories(_interactions(rows, random), DataSettings(until=5))
    assert histories.select(["user_id", "item_ids", "interactions", "later"]).to_pylist() == [
        {"user_id": 1, "item_ids": [10], "interactions": 3, "later": 2},
        {"user_id": 2, "item_ids": [], "interactions": 1, "later": 1},
    ]
