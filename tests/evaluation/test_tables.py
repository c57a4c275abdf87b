from dualrec.evaluation.tables import Cell, Row, RowGroup, Table, as_markdown, interval_cell


def test_a_mean_stands_over_its_interval_with_a_proper_minus_and_signed_bounds_apart() -> None:
    assert interval_cell({"value": 0.1234, "low": 0.1, "high": 0.15}) == Cell(
        "0.123", "0.100–0.150"
    )
    assert interval_cell({"value": -0.01, "low": -0.02, "high": 0.03}, "+.2f") == Cell(
        "−0.01", "−0.02 to +0.03"
    )


def test_what_is_missing_stays_empty() -> None:
    assert (
        interval_cell(None) == interval_cell({"value": None, "low": None, "high": None}) == Cell()
    )
    assert interval_cell({"value": 0.5, "low": None, "high": None}) == Cell("0.500")


def test_markdown_marks_the_best_brackets_intervals_and_aligns_words() -> None:
    rows = (Row("SASRec", (Cell("0.2", "0.1–0.3", best=True), Cell("two blocks"))),)
    table = Table(
        "",
        "",
        ("system", "HR@1", "parameters"),
        (RowGroup(rows, "Baselines"),),
        words=frozenset({"parameters"}),
    )
    assert as_markdown(table).splitlines() == [
        "| system | HR@1 | parameters |",
        "| --- | ---: | --- |",
        "| *Baselines* |  |  |",
        "| SASRec | **0.2** (0.1–0.3) | two blocks |",
    ]


def test_a_name_cannot_break_a_markdown_table() -> None:
    table = Table("", "", ("system",), (RowGroup((Row("a|b\n<script> *c*", ()),)),))
    assert as_markdown(table).splitlines()[2:] == [r"| a\|b \<script\> \*c\* |"]
