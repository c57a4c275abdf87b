"""Why an item is in a user's list, at which rank, or why it is not. Plain functions; no files.

In: the trace of a user (schema TRACES), the preset and the weight of the fusion. Out: reasons, with
what each model added to the score, recomputed by the functions that rank (lists.py).
"""

import math
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from dualrec.ranking.lists import RankedItem, Trace, ranked_items

PRESETS = ("fused", "paper")
EVERY_ITEM = 2**31  # longer than any list


@dataclass(frozen=True)
class Reason:
    """What both models said of one item.

    Attributes:
        rank: in the list of all that was ranked, from 1; None where it was not ranked.
        sequence_rank, probability: of the sequence model, among its candidates.
        language_rank: the position of its title in the language model's answer, from 1.
        written: that title, as the language model wrote it.
        match: exact or fuzzy, as that title was matched to the catalog; none where it has no item.
        sequence_part, language_part: what each model added to the score, None where not ranked.
    """

    item_id: int | None
    title: str | None
    rank: int | None
    sequence_rank: int | None
    probability: float | None
    language_rank: int | None
    written: str | None
    match: str | None
    similarity: float | None
    logprob: float | None
    sequence_part: float | None
    language_part: float | None

    @property
    def score(self) -> float | None:
        """Return the sum of what the models added."""
        if self.sequence_part is None or self.language_part is None:
            return None
        return self.sequence_part + self.language_part


def find_preset(trace: Trace, rows: pa.Table, weight: float) -> str | None:
    """Return the preset under which a trace gives the published rows; None where none does.

    Args:
        rows: the rows of one user (schema RECOMMENDATIONS), ordered by rank.
    """
    columns = (rows.column(name).to_pylist() for name in ("item_id", "score"))
    published = list(zip(*columns, strict=True))
    for preset in PRESETS:
        items = ranked_items(trace, preset, weight, len(published))
        if len(items) == len(published) and all(
            item.item_id == item_id and math.isclose(item.score, score, rel_tol=1e-5, abs_tol=1e-6)
            for item, (item_id, score) in zip(items, published, strict=True)
        ):
            return preset
    return None


def explain_list(trace: Trace, preset: str, weight: float, length: int) -> list[Reason]:
    """Return the reason for each item of the list, best first."""
    items = ranked_items(trace, preset, weight, length)
    return [_reason(trace, item, rank) for rank, item in enumerate(items, start=1)]


def explain_item(trace: Trace, item_id: int, preset: str, weight: float, length: int) -> Reason:
    """Return what the models said of one item, whether or not it is in the list.

    Its rank is the one that it would have in a list without a cut-off. Only the paper's list of
    ranked titles depends on its length, so a rank there is of the list itself.
    """
    longest = length if preset == "paper" else EVERY_ITEM
    for rank, item in enumerate(ranked_items(trace, preset, weight, longest), start=1):
        if item.item_id == item_id:
            return _reason(trace, item, rank)
    return _reason(trace, RankedItem(item_id, None, math.nan, math.nan, "sequence"), None)


def why_not_listed(
    reason: Reason, trace: Trace, catalog_items: set[int], length: int
) -> str | None:
    """Return one sentence that says why an item is not in the list; None where it is in it.

    Args:
        catalog_items: ids of the catalog.
        length: the number of items in the list.
    """
    item_id, candidates = reason.item_id, len(trace["sequence_item_ids"])
    if reason.rank is not None and reason.rank <= length:
        return None
    if item_id not in catalog_items:
        return f"item {item_id} is outside the catalog, so no model can recommend it"
    if item_id in trace["item_ids"]:
        return "the user has watched it already, and watched items are never listed"
    if reason.rank is not None:
        return f"its rank is {reason.rank}, below the list's cut-off of {length}"
    if reason.sequence_rank is not None:
        return (
            f"the language model did not write it; it is number {reason.sequence_rank} of the "
            f"sequence model's {candidates} candidates, which the paper's list does not hold"
        )
    return (
        f"it is not among the sequence model's {candidates} candidates, and the language model did "
        "not write it"
    )


def _reason(trace: Trace, item: RankedItem, rank: int | None) -> Reason:
    """Collect what a trace holds of an item."""
    sequence_rank = _position(trace["sequence_item_ids"], item.item_id)
    if item.item_id is None:
        language_rank = _position(trace["titles"], item.title)
    else:
        language_rank = _position(trace["title_item_ids"], item.item_id)
    return Reason(
        item_id=item.item_id,
        title=item.title,
        rank=rank,
        sequence_rank=sequence_rank,
        probability=_at(trace["sequence_scores"], sequence_rank),
        language_rank=language_rank,
        written=_at(trace["titles"], language_rank),
        match=_at(trace["title_matches"], language_rank),
        similarity=_at(trace["title_similarities"], language_rank),
        logprob=_at(trace["title_logprobs"], language_rank),
        sequence_part=None if rank is None else item.sequence_part,
        language_part=None if rank is None else item.language_part,
    )


def _position(values: list[Any], value: Any) -> int | None:
    """Return the position of a value, from 1; None where it is not there, or is None."""
    return values.index(value) + 1 if value is not None and value in values else None


def _at(values: list[Any] | None, position: int | None) -> Any:
    return None if values is None or position is None else values[position - 1]
