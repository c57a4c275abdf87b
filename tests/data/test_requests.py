import pyarrow as pa

from dualrec.data.requests import cut_requests, made_for, night_requests, of_purposes
from tests.conftest import histories_table

HISTORIES = histories_table({1: [10, 11, 12, 13, 14, 15], 2: [10], 3: [], 4: [10, 11]})


def test_a_night_serves_everyone_with_the_whole_history() -> None:
    rows = night_requests(HISTORIES, "free").to_pylist()
    assert [row["user_id"] for row in rows] == [1, 2, 3, 4]
    assert rows[0]["item_ids"] == [10, 11, 12, 13, 14, 15]
    assert rows[2]["item_ids"] == rows[0]["held_out"] == []


def test_cuts_hide_what_the_protocol_holds_out() -> None:
    (five,) = cut_requests(HISTORIES, "last_five", "last_five", "free").to_pylist()
    assert (five["item_ids"], five["held_out"]) == ([10], [11, 12, 13, 14, 15])
    one = cut_requests(HISTORIES, "next_item", "next_item", "free").to_pylist()
    assert [(row["user_id"], row["held_out"]) for row in one] == [(1, [15]), (4, [11])]


def test_requests_are_found_by_purpose_and_decoding() -> None:
    both = pa.concat_tables(
        [
            night_requests(HISTORIES, "free"),
            cut_requests(HISTORIES, "next_item", "next_item", "shortlist"),
        ]
    )
    assert made_for(both, "next_item", "shortlist").column("user_id").to_pylist() == [1, 4]
    assert (
        len(made_for(both, "next_item", "free")) == len(made_for(both, "night", "shortlist")) == 0
    )


def test_the_traces_of_a_pass_are_split_by_purpose_and_none_is_lost() -> None:
    nights = night_requests(HISTORIES, "free")
    cuts = [
        cut_requests(HISTORIES, protocol, protocol, "free")
        for protocol in ("next_item", "last_five")
    ]
    calibration = cut_requests(HISTORIES, "last_five", "calibration", "free")
    whole = pa.concat_tables([calibration, cuts[1], nights, cuts[0]])
    assert of_purposes(whole, ["night"]).equals(nights)
    assert of_purposes(whole, ["next_item", "last_five"]).to_pylist() == [
        *cuts[1].to_pylist(),
        *cuts[0].to_pylist(),
    ]
    parts = [
        of_purposes(whole, names)
        for names in (["night"], ["next_item", "last_five"], ["calibration"], ["none"])
    ]
    assert sum(map(len, parts)) == len(whole) and not len(parts[-1])
