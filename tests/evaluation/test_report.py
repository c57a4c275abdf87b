from dualrec.evaluation.report import markdown_report, terminal_table
from tests.evaluation.benchmark_metrics import benchmark_metrics


def test_markdown_holds_every_table_the_warning_and_how_to_repeat_it() -> None:
    report = markdown_report(benchmark_metrics())
    for heading in (
        "Accuracy under next_item", "Beyond accuracy under next_item", "Written titles under next_item",
        "Chosen on validation users", "Chosen parameters", "Cost", "Time", "To repeat it",
    ):  # fmt: skip
        assert f"\n## {heading}\n" in report
    assert "**Warning:** STAMP is not clearly above guessing" in report
    assert "    dualrec benchmark --config six.yaml" in report
    assert "| fused | **0.125** (0.115–0.135) |" in report
    assert "| *Leak: it has seen the answers, so this is no result* |" in report


def test_every_row_of_a_markdown_table_has_as_many_entries_as_its_head() -> None:
    blocks = [
        part.splitlines()
        for part in markdown_report(benchmark_metrics()).split("\n\n")
        if part.startswith("|")
    ]
    assert len(blocks) == 7
    for lines in blocks:
        assert {line.count("|") for line in lines} == {lines[0].count("|")}


def test_a_name_in_brackets_is_no_markup_of_the_terminal() -> None:
    result = benchmark_metrics()["protocols"]["next_item"]
    result["models"] = {"[red]SASRec[/nonsense]": result["models"]["SASRec"]}
    table = terminal_table("next_item", result)
    assert next(iter(table.columns[0].cells)) == r"\[red]SASRec\[/nonsense]"
