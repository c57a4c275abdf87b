"""Why an item is, or is not, in a user's list: the trace of the scoring, read backwards.

Takes one trace (a row of schema TRACES) and what the list was ranked with; gives plain records. The
scores are those of `ranked_list` itself, so an explanation cannot differ from the list. Knows no
files.
"""

from dataclasses import dataclass
from typing import Any

from dualrec.ranking.lists import Ranked, new_titles, ranked_list

EVERYTHING = 1_000_000_000  # a length that cuts nothing off


@dataclass(frozen=True)
class ItemExplanation:
    """What the models and the ranking made of one item.

    Attributes:
        rank: among all items that the ranking scored, from 1; None where it scored none such.
        score: None where `rank` is; the sum of `by_sequence` and `by_language`.
        sequence_rank, sequence_probability: of the sequence model's best unwatched items; None
            where the item is not among them.
        language_rank: among the language model's titles that count, from 1; None where it named no
            such title.
        written: the title as the language model wrote it, and `match`, how it was matched to the
            catalog: exact, fuzzy or none.
        log_likelihood: of the item's label, where the language model ranked items.
        watched: whether the item is in the history, and so can be in no list.
    """

    item_id: int | None
    rank: int | None
    score: float | None
    by_sequence: float
    by_language: float
    sequence_rank: int | None
    sequence_probability: float | None
    language_rank: int | None
    written: str | None
    match: str | None
    log_likelihood: float | None
    watched: bool

    def absence(self, length: int) -> str | None:
        """Say why the item is not in a list of this length; None where it is."""
        if self.watched:
            return "the user has watched it"
        if self.rank is None:
            return "neither model named it: it is not among the sequence model's best items"
        if self.rank > length:
            return f"its rank is {self.rank}, and the list ends at {length}"
        return None


def explain_list(
    trace: dict[str, Any], preset: str, weight: float, length: int
) -> list[ItemExplanation]:
    """Explain each row of a user's list, best first."""
    rows = ranked_list(trace, preset, weight, length)
    return [_explain(trace, rank, row, row.item_id) for rank, row in enumerate(rows, start=1)]


def explain_item(
    trace: dict[str, Any], preset: str, weight: float, item_id: int
) -> ItemExplanation:
    """Explain an item of the catalog, whether it is in the list or not."""
    for rank, row in enumerate(ranked_list(trace, preset, weight, EVERYTHING), start=1):
        if row.item_id == item_id:
            return _explain(trace, rank, row, item_id)
    return _explain(trace, None, None, item_id)


def _explain(
    trace: dict[str, Any], rank: int | None, row: Ranked | None, item_id: int | None
) -> ItemExplanation:
    sequence_rank, probability = _of_sequence(trace, item_id)
    language_rank, written, match, log_likelihood = _of_language(
        trace, item_id, row.title if row else None
    )
    return ItemExplanation(
        item_id,
        rank,
        row.score if row else None,
        row.by_sequence if row else 0.0,
        row.by_language if row else 0.0,
        sequence_rank,
        probability,
        language_rank,
        written,
        match,
        log_likelihood,
        item_id is not None and item_id in trace["item_ids"],
    )


def _of_sequence(trace: dict[str, Any], item_id: int | None) -> tuple[int | None, float | None]:
    if item_id not in trace["sequence_item_ids"]:
        return None, None
    position = trace["sequence_item_ids"].index(item_id)
    return position + 1, trace["sequence_scores"][position]


def _of_language(
    trace: dict[str, Any], item_id: int | None, title: str | None
) -> tuple[int | None, str | None, str | None, float | None]:
    """Return the rank, the title as written, its match and its log-likelihood."""
    for rank, (found_id, written, _) in enumerate(new_titles(trace), start=1):
        if found_id == item_id and (item_id is not None or written == title):
            position = trace["titles"].index(written)
            likelihoods = trace["title_logprobs"]
            return (
                rank,
                written,
                trace["title_matches"][position],
                None if likelihoods is None else likelihoods[position],
            )
    return None, None, None, None
