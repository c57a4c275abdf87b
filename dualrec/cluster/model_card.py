"""The README.md in a model's folder: what it was made from, how well it does, what it is for, and
what it is not for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dualrec import __version__
from dualrec.cluster.tracking import flat

CARD = "README.md"


@dataclass(frozen=True)
class ModelCard:
    """What a card says.

    Attributes:
        artifact: the model's name in the workspace.
        about: one paragraph.
        data, metrics: name to value.
        settings: a tree; each leaf is shown by its dotted name.
        use, limits: a sentence each.
        files: name to what it is.
    """

    artifact: str
    about: str
    data: Mapping[str, Any]
    metrics: Mapping[str, Any]
    settings: Mapping[str, Any]
    use: tuple[str, ...]
    limits: tuple[str, ...]
    files: Mapping[str, str]

    def text(self) -> str:
        """The card as Markdown."""
        parts = [
            f"# {self.artifact}\n\n{self.about}\n\nMade by dualrec {__version__}.",
            f"## Data\n\n{_table(self.data)}",
            f"## How well it does\n\n{_table(self.metrics)}",
            f"## Intended use\n\n{_list(self.use)}",
            f"## Limits\n\n{_list(self.limits)}",
            f"## Files\n\n{_table(self.files)}",
            f"## Settings\n\n{_table(flat(self.settings))}",
        ]
        return "\n\n".join(parts) + "\n"


def _table(rows: Mapping[str, Any]) -> str:
    return "\n".join(
        [
            "| | |",
            "| --- | --- |",
            *(f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items()),
        ]
    )


def _list(sentences: tuple[str, ...]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _cell(value: Any) -> str:
    shown = f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(shown.replace("|", r"\|").split())
