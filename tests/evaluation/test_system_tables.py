import pytest

from dualrec.evaluation.system_tables import (
    chosen_table,
    cost_table,
    seconds,
    steps_table,
    trial_tables,
    validation_table,
)
from dualrec.evaluation.tables import Cell
from tests.evaluation.benchmark_metrics import benchmark_metrics


def test_trials_stand_best_first_with_the_chosen_one_marked() -> None:
    (table,) = trial_tables(benchmark_metrics()["systems"])
    assert table.title == "SASRec: 2 tried"
    assert [row.cells for row in table.groups[0].rows] == [
        (Cell("learning rate 0.001, blocks 2"), Cell("0.2000", best=True), Cell("45.0 s")),
        (Cell("learning rate 0.002, blocks 1"), Cell("0.1000"), Cell("30.0 s")),
    ]


def test_chosen_parameters_name_their_paper() -> None:
    table = chosen_table(benchmark_metrics()["systems"])
    assert table is not None
    (row,) = table.groups[0].rows
    assert row.cells == (
        Cell("learning rate 0.001, blocks 2"),
        Cell("2"),
        Cell("Kang and McAuley 2018"),
    )


def test_cost_leaves_empty_what_was_not_timed() -> None:
    table = cost_table(benchmark_metrics()["systems"])
    assert table is not None
    cells = {
        row.name: [cell.text for cell in row.cells] for group in table.groups for row in group.rows
    }
    assert cells["fused"] == ["5 min 0 s", "1,200", "36.5"]
    assert cells["SASRec"] == ["1 min 8 s", "0.4", ""]
    assert cells["STAMP"] == ["3.0 s", "", ""]
    assert "fused, without the hint" not in cells


def test_the_weight_in_force_is_marked() -> None:
    table = validation_table(benchmark_metrics())
    assert table is not None
    (row,) = table.groups[0].rows
    assert {
        column for column, cell in zip(table.columns[1:], row.cells, strict=True) if cell.best
    } == {"weight 0.3"}


def test_what_was_not_kept_has_no_table() -> None:
    assert (
        cost_table({})
        is chosen_table({})
        is steps_table({})
        is validation_table({"validation": {}})
        is None
    )
    assert trial_tables({"SASRec": {"kind": "baseline"}}) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0.0213, "0.021 s"),
        (8.34, "8.3 s"),
        (59.96, "60.0 s"),
        (125, "2 min 5 s"),
        (4320, "1 h 12 min"),
    ],
)
def test_seconds_read_as_people_say_them(value: float | None, text: str) -> None:
    assert seconds(value) == text
