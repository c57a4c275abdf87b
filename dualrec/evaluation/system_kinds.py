"""What sort of system a row of the report is: ours, a rival, or something to judge them by. Knows
metrics.json only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Systems = Mapping[str, Mapping[str, Any]]  # `systems` of metrics.json


@dataclass(frozen=True)
class Kind:
    """A group of rows.

    Attributes:
        key: as metrics.json has it; also the CSS class and the name of its colour.
        title: the heading of its rows.
        light, dark: its colour on a white and on a black page.
    """

    key: str
    title: str
    light: str
    dark: str


KINDS = (
    Kind("other", "", "#5d6b7c", "#a7b1bf"),  # where metrics.json does not say
    Kind("ours", "Ours", "#1d5fc4", "#79b4ff"),
    Kind("baseline", "Baselines, trained on the same histories", "#5d6b7c", "#a7b1bf"),
    Kind("guess", "Guesses, which know nothing of the user", "#a39b8b", "#7f786c"),
    Kind("ablation", "Ablations: ours with one part changed or left out", "#7d4bb8", "#c5a5f6"),
    Kind(
        "control",
        "Controls: ours with its input spoilt, which should cost accuracy",
        "#a06400",
        "#e6b14c",
    ),
    Kind("leak", "Leak: it has seen the answers, so this is no result", "#c1272d", "#ff7f76"),
)


def kind_of(system: str, systems: Systems) -> str:
    """The key of a system's kind; `other` where metrics.json does not say."""
    return str(systems.get(system, {}).get("kind", "other"))


def by_kind(names: Iterable[str], systems: Systems) -> list[tuple[Kind, list[str]]]:
    """Names in the order in which kinds are shown, those of a kind in their own; kinds without any
    are left out."""
    kept = list(names)
    groups = [
        (kind, [name for name in kept if kind_of(name, systems) == kind.key]) for kind in KINDS
    ]
    return [(kind, group) for kind, group in groups if group]
