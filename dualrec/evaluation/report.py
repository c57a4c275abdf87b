"""The metrics table, for the terminal and as Markdown. Knows metrics.json only."""

from typing import Any

from rich.table import Table

TERMINAL_COLUMNS = ("HR@1", "HR@5", "HR@10", "NDCG@10")  # what eighty characters hold
COLUMNS = ("HR@1", "HR@5", "HR@10", "NDCG@5", "NDCG@10", "genre Jaccard")


def terminal_table(protocol: str, result: dict[str, Any]) -> Table:
    """Means over their 95 % intervals, a row a system."""
    table = Table(title=f"{protocol}, {result['users']} users, whole catalogue", title_justify="left", show_lines=True)
    table.add_column("system", min_width=14)
    for column in TERMINAL_COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for name, metrics in result["models"].items():
        table.add_row(
            name, *(_cell(metrics.get(column), "\n[dim]{low:.3f}-{high:.3f}[/dim]") for column in TERMINAL_COLUMNS)
        )
    for name, row in result["published"].items():
        table.add_row(f"[dim]{name}[/dim]", *(_published(row["values"].get(column)) for column in TERMINAL_COLUMNS))
    return table


def markdown_report(metrics: dict[str, Any]) -> str:
    """All protocols as Markdown tables, with how the published rows were measured."""
    parts = [f"# {metrics['dataset']}", "Means with bootstrap 95 % intervals."]
    for protocol, result in metrics["protocols"].items():
        parts.append(f"## {protocol}\n\n{result['users']} users, whole catalogue.")
        parts.append(markdown_table(result))
        parts.extend(f"{name}: {row['how']}." for name, row in result["published"].items())
        parts.extend(_shares(name, row) for name, row in result["models"].items() if name.startswith("language model"))
    parts.append(_validation(metrics))
    return "\n\n".join(parts) + "\n"


def markdown_table(result: dict[str, Any]) -> str:
    """One protocol's table."""
    lines = ["| system | " + " | ".join(COLUMNS) + " |", "| --- |" + " ---: |" * len(COLUMNS)]
    for name, metrics in result["models"].items():
        cells = (_cell(metrics.get(column), " ({low:.3f}-{high:.3f})") for column in COLUMNS)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for name, row in result["published"].items():
        lines.append(f"| *{name}* | " + " | ".join(_published(row["values"].get(column)) for column in COLUMNS) + " |")
    return "\n".join(lines)


def _validation(metrics: dict[str, Any]) -> str:
    """What was chosen on validation users, and by what."""
    lines = ["## Chosen on validation users", f"Decoding in force: {metrics['decoding']}."]
    fits = metrics["validation"]
    lines += [
        f"{decoding.capitalize()} decoding: NDCG@10 {fit['language_ndcg_at_10']:.4f} of the language model alone, "
        f"{fit['fused_ndcg_at_10'][str(fit['weight'])]:.4f} of the fused list at its weight of {fit['weight']} "
        f"({fit['users']} users)."
        for decoding, fit in fits.items()
    ]
    if len(fits) > 1:
        best = max(fits, key=lambda decoding: float(fits[decoding]["language_ndcg_at_10"]))
        lines.append(f"The language model alone serves validation users best with {best} decoding.")
    return "\n\n".join(lines)


def _shares(system: str, shares: dict[str, Any]) -> str:
    named = [name for name in shares if name.startswith(("titles ", "answers ")) and shares[name]["value"] is not None]
    return (
        f"Of the titles that the {system} wrote: "
        + ", ".join(
            f"{name.removeprefix('titles ')} {shares[name]['value']:.1%} "
            f"({shares[name]['low']:.1%}-{shares[name]['high']:.1%})"
            for name in named
        )
        + "."
    )


def _cell(metric: dict[str, float | None] | None, interval: str) -> str:
    if metric is None or metric["value"] is None:
        return ""
    return f"{metric['value']:.3f}" + interval.format(**metric)


def _published(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
