"""Figures that others published, for rows of their own. They were measured otherwise; each says
how."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedFigure:
    """One row of a paper.

    Attributes:
        how: what was measured, in the reader's words.
    """

    name: str
    how: str
    values: dict[str, float]


PUBLISHED: dict[str, tuple[PublishedFigure, ...]] = {
    "next_item": (
        PublishedFigure(
            "LSTM (published, ML-1M)",
            "Li and Grasman 2025: accuracy and top-5 accuracy of their LSTM at every position, 1,000 movies, all ratings",
            {"HR@1": 0.0344, "HR@5": 0.1420},
        ),
    ),
    "last_five": (
        PublishedFigure(
            "UniSRec (published, ML-1M)",
            "the paper's table, from another paper: one true among 20 candidates, where guessing gives 0.05 and 0.25",
            {"HR@1": 0.0508, "HR@5": 0.2508},
        ),
    ),
}
