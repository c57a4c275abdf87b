import numpy as np

from dualrec.evaluation.title_shares import title_shares, well_formed


def _trace(items: list[int | None], watched: list[int], titles: list[str]) -> dict:
    return {"title_item_ids": items, "item_ids": watched, "titles": titles}


def test_shares_of_one_users_titles() -> None:
    shares = title_shares([_trace([2, 2, 3, None], [3], ["A (1990)"] * 4)], 3)
    assert shares["titles resolved"][0] == 3 / 4
    assert shares["titles repeated"][0] == 1 / 4
    assert shares["titles already watched"][0] == 1 / 4
    assert shares["answers well formed"][0] == 0.0


def test_shares_of_titles_do_not_apply_where_none_were_written() -> None:
    shares = title_shares([_trace([], [], [])], 3)
    assert np.isnan(shares["titles resolved"][0]) and shares["answers well formed"][0] == 0.0


def test_a_well_formed_answer_has_all_titles_with_their_years() -> None:
    assert well_formed(["Heat (1995)", "Ran (1985)"], 2)
    assert not well_formed(["Heat (1995)"], 2)
    assert not well_formed(["Heat (1995)", "Ran"], 2)
