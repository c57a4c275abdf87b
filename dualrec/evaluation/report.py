"""The report for the terminal and as Markdown, tables only. Knows metrics.json only; the page is
html_report.py's."""

from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table as TerminalTable

from dualrec.evaluation.result_tables import accuracy_table, answers_table, beyond_table
from dualrec.evaluation.system_kinds import Systems
from dualrec.evaluation.system_tables import chosen_table, cost_table, steps_table, validation_table
from dualrec.evaluation.tables import Table, as_markdown, written
from dualrec.evaluation.weak_baselines import weak_baselines

TERMINAL_COLUMNS = ("HR@1", "HR@5", "HR@10", "NDCG@10")  # what eighty characters hold
COLUMNS = ("HR@1", "HR@5", "HR@10", "NDCG@5", "NDCG@10")  # what a page of Markdown holds


def terminal_table(protocol: str, result: Mapping[str, Any]) -> TerminalTable:
    """Means over their 95 % intervals, a row a system."""
    table = TerminalTable(
        title=f"{escape(protocol)}, {result['users']} users", title_justify="left", show_lines=True
    )
    table.add_column("system", min_width=14)
    for column in TERMINAL_COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for name, metrics in result["models"].items():
        table.add_row(
            escape(name), *(_terminal_cell(metrics.get(column)) for column in TERMINAL_COLUMNS)
        )
    for name, row in result["published"].items():
        values = (written(row["values"].get(column)) for column in TERMINAL_COLUMNS)
        table.add_row(f"[dim]{escape(name)}[/dim]", *values)
    return table


def markdown_report(metrics: Mapping[str, Any]) -> str:
    """Every table but the trials, under its caption, with how the published rows were measured."""
    systems: Systems = metrics.get("systems", {})
    parts = [
        f"# {metrics['dataset']}",
        *(f"**Warning:** {sentence}" for sentence in weak_baselines(metrics)),
    ]
    for protocol, result in metrics["protocols"].items():
        parts += _section(accuracy_table(protocol, result, systems, COLUMNS))
        for table in (
            beyond_table(protocol, result, systems),
            answers_table(protocol, result, systems),
        ):
            parts += _section(table)
    for table in (
        validation_table(metrics),
        chosen_table(systems),
        cost_table(systems),
        steps_table(metrics),
    ):
        parts += _section(table)
    commands = metrics.get("commands", [])
    if commands:
        parts.append("## To repeat it\n\n" + "\n".join(f"    {command}" for command in commands))
    return "\n\n".join(parts) + "\n"


def _section(table: Table | None) -> list[str]:
    return (
        []
        if table is None
        else [f"## {table.title}", table.caption, as_markdown(table), *table.notes]
    )


def _terminal_cell(metric: Mapping[str, float | None] | None) -> str:
    if metric is None or metric["value"] is None:
        return ""
    low, high = metric["low"], metric["high"]
    under = "" if low is None or high is None else f"\n[dim]{low:.3f}-{high:.3f}[/dim]"
    return f"{metric['value']:.3f}{under}"
