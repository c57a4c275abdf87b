"""The final list of each user from both models' items. Plain functions on traces; no model, no Ray.

`paper` is the generated titles in the order of their similarity to the sequence model's first
choice. `fused` merges both models' items: score = (1 - w) / (1 + log2(rank by the sequence model))
+ w / (rank among the generated titles), where the weight w is chosen on validation users (see
`choose_weight`).

Where the language model ranked the sequence model's first items instead of writing titles, both
tell probabilities: score = (1 - w) log P(item by the sequence model) + w log P(label of the item by
the language model), and an item that was not among the candidates counts as the least likely of
them, which leaves it behind them all.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from dualrec.data.catalog import numbers_among
from dualrec.storage.schemas import RECOMMENDATIONS

METHOD = 1  # of lists and their weight; raised when the same traces give others (CONTRIBUTING.md)
Source = Literal["sequence", "language", "both"]
WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Ranked:
    """One row of a list.

    Attributes:
        item_id: None where the title is in no catalog.
        title: as generated; None where the catalog has it.
        by_sequence, by_language: what each model adds to the score.
    """

    item_id: int | None
    title: str | None
    score: float
    source: Source
    by_sequence: float = field(default=0.0, repr=False, compare=False)
    by_language: float = field(default=0.0, repr=False, compare=False)


def ranked_list(trace: dict[str, Any], preset: str, weight: float, length: int) -> list[Ranked]:
    """Return the list of one trace under a preset, best first."""
    if preset == "paper":
        return paper_list(trace, length)
    return fused_list(trace, weight, length)


def paper_list(trace: dict[str, Any], length: int) -> list[Ranked]:
    """The generated titles, reranked. Watched and repeated items are left out; titles in no catalog
    stay.

    Of ranked titles, the language model's first `length` are what it would have written. Where
    nothing is left, because the language model failed or wrote only what was watched, the sequence
    model's list stands in.
    """
    choices = set(trace["sequence_item_ids"])
    new = list(new_titles(trace))
    places = [
        Ranked(
            item_id,
            None if item_id is not None else title,
            similarity,
            "both" if item_id in choices else "language",
            by_language=similarity,
        )
        for item_id, title, similarity in (new if trace["title_logprobs"] is None else new[:length])
    ]
    places.sort(key=lambda place: -place.score)
    return places[:length] or fused_list(trace, 0.0, length)


def fused_list(trace: dict[str, Any], weight: float, length: int) -> list[Ranked]:
    """Both models' items, merged; titles in no catalog are left out."""
    if trace["title_logprobs"] is not None:
        return _fused_likelihoods(trace, weight)[:length]
    by_sequence = {
        item_id: 1 / (1 + np.log2(rank))
        for rank, item_id in enumerate(trace["sequence_item_ids"], start=1)
    }
    generated = [item_id for item_id, _, _ in new_titles(trace) if item_id is not None]
    by_language = {item_id: 1 / rank for rank, item_id in enumerate(generated, start=1)}
    order = list(by_sequence) + [item_id for item_id in generated if item_id not in by_sequence]
    rows = []
    for item_id in order:
        if item_id not in by_language:
            source: Source = "sequence"
        elif item_id not in by_sequence:
            source = "language"
        else:
            source = "both"
        rows.append(
            _scored(
                item_id,
                (1 - weight) * by_sequence.get(item_id, 0.0),
                weight * by_language.get(item_id, 0.0),
                source,
            )
        )
    rows.sort(key=lambda row: -row.score)
    return rows[:length]


def _scored(item_id: int, by_sequence: float, by_language: float, source: Source) -> Ranked:
    score = by_sequence + by_language
    return Ranked(item_id, None, score, source, by_sequence, by_language)


def _fused_likelihoods(trace: dict[str, Any], weight: float) -> list[Ranked]:
    by_language = dict(zip(trace["title_item_ids"], trace["title_logprobs"], strict=True))
    least = min(by_language.values(), default=0.0)
    places = [
        _scored(
            item_id,
            (1 - weight) * math.log(probability),
            weight * by_language.get(item_id, least),
            "both" if item_id in by_language else "sequence",
        )
        for item_id, probability in zip(
            trace["sequence_item_ids"], trace["sequence_scores"], strict=True
        )
    ]
    return sorted(places, key=lambda place: -place.score)


def language_list(trace: dict[str, Any], length: int) -> list[Ranked]:
    """The language model alone: its titles in the order in which it wrote or ranked them, watched
    ones left out."""
    return [
        Ranked(item_id, title, 1 / rank, "language")
        for rank, (item_id, title, _) in enumerate(new_titles(trace), 1)
    ][:length]


def choose_weight(gains: dict[float, np.ndarray], seed: int) -> float:
    """The weight of the fused list, from each validation user's gain (such as NDCG) under each
    weight.

    The better of the two models alone (weights 0 and 1) stands, unless a mixture gains over it with
    95 % confidence: a weight that wins by chance would lose it again at night. Since the best of
    several weights is chosen, its gain is
    judged on users whom it was not chosen on: each half of the users chooses the weight of the
    other half, and the gains of both are bootstrapped. Without validation users the weight is 0:
    the sequence model's list.

    Args:
        gains: weight to float (users,), with 0.0 and 1.0 among the weights.
    """
    if len(gains[0.0]) < 2:
        return 0.0
    everyone, random = np.arange(len(gains[0.0])), np.random.default_rng(seed)
    alone, best = (
        _best_weight(gains, (0.0, 1.0), everyone),
        _best_weight(gains, tuple(gains), everyone),
    )
    if best == alone:
        return alone
    halves = np.array_split(random.permutation(everyone), 2)
    differences = np.concatenate(
        [
            (gains[_best_weight(gains, tuple(gains), other)] - gains[alone])[half]
            for half, other in (halves, reversed(halves))
        ]
    )
    sample = random.integers(0, len(differences), (2000, len(differences)))
    return best if np.quantile(differences[sample].mean(1), 0.05) > 0 else alone


def _best_weight(
    gains: dict[float, np.ndarray], weights: tuple[float, ...], users: np.ndarray
) -> float:
    return max(weights, key=lambda weight: (gains[weight][users].mean(), -weight))


class ListWriter:
    """Turns traces into rows of the recommendations table. Made in no time, whatever the catalog.

    Args:
        catalog: schema CATALOG, ordered by item_id.
        embeddings: float32 (N, d), unit vectors in the order of the catalog; they tell what a movie
            rests on.
        preset: paper or fused, with its weight.
    """

    def __init__(
        self,
        catalog: pa.Table,
        embeddings: np.ndarray,
        preset: str,
        weight: float,
        length: int,
        run_date: date,
    ) -> None:
        self.catalog, self.item_ids = catalog, catalog.column("item_id").to_numpy()
        self.embeddings, self.preset, self.weight, self.length = embeddings, preset, weight, length
        self.run_date = run_date

    def __call__(self, traces: pa.Table) -> pa.Table:
        """The lists of a batch of traces (schema TRACES): schema RECOMMENDATIONS."""
        asked = traces.to_pylist()
        lists = [self._list(trace) for trace in asked]
        items = self._items(
            {place.item_id for places in lists for place in places if place.item_id is not None}
        )
        rows = [
            row
            for trace, places in zip(asked, lists, strict=True)
            for row in self._rows(trace, places, items)
        ]
        return pa.Table.from_pylist(rows, schema=RECOMMENDATIONS)

    def _list(self, trace: dict[str, Any]) -> list[Ranked]:
        return ranked_list(trace, self.preset, self.weight, self.length)

    def _items(self, item_ids: set[int]) -> dict[int, dict[str, Any]]:
        """What the catalog says of some items."""
        rows = numbers_among(self.item_ids, np.array(sorted(item_ids), np.int64)) - 1
        return {row["item_id"]: row for row in self.catalog.take(rows).to_pylist()}

    def _rows(
        self, trace: dict[str, Any], places: list[Ranked], items: dict[int, dict[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        for rank, place in enumerate(places, start=1):
            item = {} if place.item_id is None else items[place.item_id]
            yield {
                "run_date": self.run_date,
                "user_id": trace["user_id"],
                "rank": rank,
                "item_id": place.item_id,
                "title": item.get("title", place.title),
                "year": item.get("year"),
                "genres": item.get("genres", []),
                "score": place.score,
                "source": place.source,
                "similar_history": self._similar_history(place.item_id, trace["item_ids"]),
            }

    def _similar_history(self, item_id: int | None, history: list[int], most: int = 3) -> list[int]:
        """The watched movies whose titles are closest to the item's, among the twenty most recent."""
        if item_id is None:
            return []
        rows = numbers_among(self.item_ids, np.array([*history[-20:], item_id], np.int64)) - 1
        recent, row = rows[:-1][rows[:-1] >= 0], rows[-1]
        closeness = self.embeddings[recent] @ self.embeddings[row]
        return self.item_ids[recent[np.argsort(-closeness, kind="stable")[:most]]].tolist()


def new_titles(trace: dict[str, Any]) -> Iterator[tuple[int | None, str, float]]:
    """The generated titles that were neither watched nor written before, in order."""
    seen: set[object] = set(trace["item_ids"])
    columns = (trace[name] for name in ("title_item_ids", "titles", "title_similarities"))
    for item_id, title, similarity in zip(*columns, strict=True):
        key = title.lower() if item_id is None else item_id
        if key not in seen:
            seen.add(key)
            yield item_id, title, similarity
