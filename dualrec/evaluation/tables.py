"""A table of the report before it is HTML or Markdown, and how figures are written. Knows figures;
not what they measure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Interval = Mapping[str, float | None]  # value, low and high, each of which may be missing


@dataclass(frozen=True)
class Cell:
    """One entry.

    Attributes:
        under: what stands below it in small type, such as its interval.
        best: whether it is the best of its column.
    """

    text: str = ""
    under: str = ""
    best: bool = False


@dataclass(frozen=True)
class Row:
    """A name and its entries, one for each further column."""

    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class RowGroup:
    """Rows of a kind under one heading.

    Attributes:
        key: the kind, for the style.
        title: empty for no heading.
    """

    rows: tuple[Row, ...]
    title: str = ""
    key: str = "other"


@dataclass(frozen=True)
class Table:
    """A table that explains itself.

    Attributes:
        caption: what a reader needs to understand it, in sentences.
        columns: their heads, that of the names first.
        words: columns of words, which stand at the left; others hold figures.
        notes: sentences to stand below.
    """

    title: str
    caption: str
    columns: tuple[str, ...]
    groups: tuple[RowGroup, ...]
    words: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def written(value: float | None, form: str = ".3f") -> str:
    """A figure in a format of Python's, with a proper minus; empty where there is none."""
    return "" if value is None else format(value, form).replace("-", "−")


def interval_cell(figure: Interval | None, form: str = ".3f", best: bool = False) -> Cell:
    """A mean over its interval; empty where there is no mean."""
    if figure is None or figure["value"] is None:
        return Cell()
    low, high = figure.get("low"), figure.get("high")
    between = " to " if "+" in form else "–"
    under = (
        "" if low is None or high is None else f"{written(low, form)}{between}{written(high, form)}"
    )
    return Cell(written(figure["value"], form), under, best)


def as_markdown(table: Table) -> str:
    """The rows as a Markdown table: headings of groups in italics, the best of a column bold,
    intervals in brackets."""
    lines = [_line(_escaped(column) for column in table.columns)]
    lines.append(
        _line("---" if _is_words(table, place) else "---:" for place in range(len(table.columns)))
    )
    for group in table.groups:
        if group.title:
            lines.append(_line((f"*{_escaped(group.title)}*", *[""] * (len(table.columns) - 1))))
        lines += [
            _line((_escaped(row.name), *map(_markdown_cell, row.cells))) for row in group.rows
        ]
    return "\n".join(lines)


def _is_words(table: Table, place: int) -> bool:
    return place == 0 or table.columns[place] in table.words


def _line(entries: Iterable[str]) -> str:
    return "| " + " | ".join(entries) + " |"


def _markdown_cell(cell: Cell) -> str:
    text = f"**{_escaped(cell.text)}**" if cell.best else _escaped(cell.text)
    return f"{text} ({_escaped(cell.under)})" if cell.under else text


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*<>|\[\]])", r"\\\1", " ".join(text.split()))
