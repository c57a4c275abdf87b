"""Ranked lists from traces, and what each model adds to a score. Plain functions; no model, no Ray.

In: one trace (a row of schema TRACES as a dict). Out: RankedItem rows, best first.

`paper` is the generated titles in the order of their similarity to the sequence model's first
choice. `fused` merges both models' items: score = (1 - w) / (1 + log2(rank by the sequence model))
+ w / (rank among the generated titles), where the weight w is fitted on validation users (see
fusion.py).

Where the language model ranked the sequence model's first items instead of writing titles, both
give probabilities: score = (1 - w) log P(item by the sequence model) + w log P(label of the item by
the language model). An item that was not among the candidates counts as the least likely of them,
which leaves it behind them all.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

METHOD = 1  # of lists and their weight; raised when the same traces give others (CONTRIBUTING.md)
Source = Literal["sequence", "language", "both"]
Trace = dict[str, Any]


@dataclass(frozen=True)
class RankedItem:
    """An item of a list, and what each model added to its score.

    Attributes:
        item_id: None where the title is in no catalog.
        title: as the language model wrote it; None where the catalog names the item.
        sequence_part, language_part: weighted; their sum is the score.
        source: the models that proposed the item.
    """

    item_id: int | None
    title: str | None
    sequence_part: float
    language_part: float
    source: Source

    @property
    def score(self) -> float:
        """Return the score by which lists are ordered."""
        return self.sequence_part + self.language_part


def ranked_items(trace: Trace, preset: str, weight: float, length: int) -> list[RankedItem]:
    """Return the list of one trace under a preset of `ranking.preset`: "paper" or "fused"."""
    if preset == "paper":
        return paper_list(trace, length)
    return fused_list(trace, weight, length)


def paper_list(trace: Trace, length: int) -> list[RankedItem]:
    """Return the generated titles, reranked by their similarity to the sequence model's choice.

    Watched and repeated items are left out; titles in no catalog stay. Of ranked titles, the
    language model's first `length` are what it would have written. Where nothing is left, because
    the language model failed or wrote only what was watched, the sequence model's list replaces it.
    """
    choices = set(trace["sequence_item_ids"])
    titles = list(_new_titles(trace))
    if trace["title_logprobs"] is not None:
        titles = titles[:length]
    items = []
    for item_id, title, similarity in titles:
        name = title if item_id is None else None
        source: Source = "both" if item_id in choices else "language"
        items.append(RankedItem(item_id, name, 0.0, similarity, source))
    return _best(items, length) or fused_list(trace, 0.0, length)


def fused_list(trace: Trace, weight: float, length: int) -> list[RankedItem]:
    """Return both models' items, merged; titles in no catalog are left out."""
    if trace["title_logprobs"] is not None:
        return _best(_fused_likelihoods(trace, weight), length)
    by_sequence = {
        item_id: 1 / (1 + float(np.log2(rank)))
        for rank, item_id in enumerate(trace["sequence_item_ids"], start=1)
    }
    generated = [item_id for item_id, _, _ in _new_titles(trace) if item_id is not None]
    by_language = {item_id: 1 / rank for rank, item_id in enumerate(generated, start=1)}
    items = []
    for item_id in by_sequence | by_language:
        source: Source = "language"
        if item_id in by_sequence:
            source = "both" if item_id in by_language else "sequence"
        sequence_part = (1 - weight) * by_sequence.get(item_id, 0.0)
        language_part = weight * by_language.get(item_id, 0.0)
        items.append(RankedItem(item_id, None, sequence_part, language_part, source))
    return _best(items, length)


def language_list(trace: Trace, length: int) -> list[RankedItem]:
    """Return the language model's titles in its own order, watched ones left out."""
    titles = enumerate(_new_titles(trace), start=1)
    items = [
        RankedItem(item, title, 0.0, 1 / rank, "language") for rank, (item, title, _) in titles
    ]
    return items[:length]


def _fused_likelihoods(trace: Trace, weight: float) -> Iterator[RankedItem]:
    by_language = dict(zip(trace["title_item_ids"], trace["title_logprobs"], strict=True))
    least = min(by_language.values(), default=0.0)
    choices = zip(trace["sequence_item_ids"], trace["sequence_scores"], strict=True)
    for item_id, probability in choices:
        sequence_part = (1 - weight) * math.log(probability)
        language_part = weight * by_language.get(item_id, least)
        source: Source = "both" if item_id in by_language else "sequence"
        yield RankedItem(item_id, None, sequence_part, language_part, source)


def _best(items: Iterator[RankedItem] | list[RankedItem], length: int) -> list[RankedItem]:
    """Return the items of the highest scores, equal ones in their order."""
    return sorted(items, key=lambda item: -item.score)[:length]


def _new_titles(trace: Trace) -> Iterator[tuple[int | None, str, float]]:
    """Yield the generated titles that were neither watched nor written before, in order."""
    seen: set[object] = set(trace["item_ids"])
    columns = (trace[name] for name in ("title_item_ids", "titles", "title_similarities"))
    for item_id, title, similarity in zip(*columns, strict=True):
        key = title.lower() if item_id is None else item_id
        if key not in seen:
            seen.add(key)
            yield item_id, title, similarity
