"""How good the titles are that a language model wrote: whether they exist, are new, and are as many
as asked for."""

from typing import Any

import numpy as np

from dualrec.data.titles import year_of

SHARES = ("titles resolved", "titles repeated", "titles already watched")
FORMED = "answers well formed"


def title_shares(traces: list[dict[str, Any]], titles: int) -> dict[str, np.ndarray]:
    """Shares of each user's written titles: name to float64 (n,), NaN where a user got none.

    Args:
        traces: rows of schema TRACES.
        titles: how many an answer should hold.
    """
    rows = [_shares(trace["title_item_ids"], set(trace["item_ids"])) for trace in traces]
    columns = np.array(rows, np.float64).reshape(len(rows), len(SHARES))
    formed = np.array([well_formed(trace["titles"], titles) for trace in traces], np.float64)
    return {**dict(zip(SHARES, columns.T, strict=True)), FORMED: formed}


def well_formed(titles: list[str], wanted: int) -> bool:
    """Whether an answer holds as many titles as were asked for, each with its year."""
    return len(titles) == wanted and all(year_of(title) is not None for title in titles)


def _shares(written: list[int | None], watched: set[int]) -> list[float]:
    if not written:
        return [float("nan")] * len(SHARES)
    known = [item for item in written if item is not None]
    counts = (len(known), len(known) - len(set(known)), sum(item in watched for item in known))
    return [count / len(written) for count in counts]
