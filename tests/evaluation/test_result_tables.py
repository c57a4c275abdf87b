from typing import Any

import pytest

from dualrec.evaluation.result_tables import accuracy_table, answers_table, beyond_table
from dualrec.evaluation.tables import Cell, Table
from tests.evaluation.benchmark_metrics import benchmark_metrics

LEAK = "paper, reranked against the answers (leak)"


@pytest.fixture
def metrics() -> dict[str, Any]:
    return benchmark_metrics()


def _accuracy(metrics: dict[str, Any]) -> Table:
    return accuracy_table("next_item", metrics["protocols"]["next_item"], metrics["systems"])


def _cells(table: Table) -> dict[str, dict[str, Cell]]:
    return {
        row.name: dict(zip(table.columns[1:], row.cells, strict=True))
        for group in table.groups
        for row in group.rows
    }


def test_rows_stand_by_kind_and_published_ones_last(metrics: dict[str, Any]) -> None:
    groups = _accuracy(metrics).groups
    assert [group.key for group in groups] == [
        "ours",
        "baseline",
        "guess",
        "ablation",
        "control",
        "leak",
        "published",
    ]
    assert [row.name for row in groups[1].rows] == ["STAMP", "SASRec"]


def test_the_best_of_a_column_is_no_leak(metrics: dict[str, Any]) -> None:
    cells = _cells(_accuracy(metrics))
    best = {name for name, row in cells.items() if row["NDCG@10"].best}
    assert float(cells[LEAK]["NDCG@10"].text) > float(cells["fused"]["NDCG@10"].text)
    assert best == {"fused"}


def test_a_control_that_leads_is_marked(metrics: dict[str, Any]) -> None:
    metrics["protocols"]["next_item"]["models"]["fused, histories shuffled (control)"]["HR@1"][
        "value"
    ] = 0.9
    best = {name for name, row in _cells(_accuracy(metrics)).items() if row["HR@1"].best}
    assert best == {"fused, histories shuffled (control)"}


def test_differences_carry_a_sign_where_chance_is_unlikely_and_a_leak_never_does(
    metrics: dict[str, Any],
) -> None:
    cells = _cells(_accuracy(metrics))
    assert cells["fused"]["NDCG@10 less that of SASRec"] == Cell("▲ +0.050", "+0.040 to +0.060")
    assert cells["STAMP"]["NDCG@10 less that of SASRec"].text == "▼ −0.090"
    assert cells["MostPop"]["NDCG@10 less that of SASRec"].text == "−0.100"
    assert cells[LEAK]["NDCG@10 less that of SASRec"].text == "+0.400"
    assert cells["SASRec"]["NDCG@10 less that of SASRec"].text == "the rival"
    assert cells["fused"]["p, and corrected"] == Cell("0.001", "0.004")
    assert cells["STAMP"]["p, and corrected"] == Cell("< 0.001", "< 0.001")


def test_the_caption_says_what_was_hidden_from_whom_and_what_is_compared(
    metrics: dict[str, Any],
) -> None:
    table = _accuracy(metrics)
    assert table.caption.startswith("1,234 users. The last movie is hidden. HR@k: ")
    assert "to SASRec, the best baseline here" in table.caption
    assert table.notes == ("LSTM (published): at every position.",)


def test_without_comparisons_there_is_no_column_of_them(metrics: dict[str, Any]) -> None:
    result = metrics["protocols"]["next_item"]
    del result["against"], result["description"]
    table = accuracy_table("next_item", result, {})
    assert table.columns == ("system", "HR@1", "HR@10", "NDCG@10")
    assert "rival" not in table.caption and "SASRec" not in table.caption


def test_beyond_accuracy_explains_what_it_shows_and_marks_nothing(metrics: dict[str, Any]) -> None:
    table = beyond_table("next_item", metrics["protocols"]["next_item"], metrics["systems"])
    assert table is not None
    assert table.columns == ("system", "genre Jaccard", "coverage@10", "popularity lift@10")
    cells = _cells(table)
    assert cells["fused"]["coverage@10"] == Cell("50.0%")
    assert cells["fused"]["popularity lift@10"] == Cell("−0.05", "−0.06 to −0.04")
    assert not any(cell.best for row in cells.values() for cell in row.values())
    assert "coverage@10: the share" in table.caption and "novelty@10:" not in table.caption


def test_only_systems_that_wrote_titles_stand_with_their_shares(metrics: dict[str, Any]) -> None:
    result = metrics["protocols"]["next_item"]
    table = answers_table("next_item", result, metrics["systems"])
    assert table is not None
    assert _cells(table).keys() == {
        name for name in result["models"] if name.startswith(("fused", "paper"))
    }
    assert _cells(table)["fused"]["titles resolved"].text == "90.0%"
    for model in result["models"].values():
        model["titles resolved"]["value"] = None
    assert answers_table("next_item", result, metrics["systems"]) is None
