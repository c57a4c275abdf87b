"""The summary of a finished job: the figures that matter, and the paths of its outputs."""

from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass
class Summary:
    """Lines of name and value under a title, printed in order.

    Attributes:
        outputs: name to URI of what was written.
        tables: further tables to show under the summary.
    """

    title: str
    lines: dict[str, object] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)

    def show(self, console: Console) -> None:
        """Print it."""
        grid = Table(title=self.title, show_header=False, title_justify="left", title_style="bold")
        grid.add_column(style="cyan", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in {**self.lines, **self.outputs}.items():
            grid.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))
        console.print(grid)
        for table in self.tables:
            console.print(table)
