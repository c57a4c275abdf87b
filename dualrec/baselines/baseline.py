"""What every baseline is: how it learns, how it scores, and over which settings it is searched.

Knows arrays of item numbers, which run from 1 in the order of the catalog; not user ids, files or
Ray.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dualrec.baselines.top_items import next_item_ndcg
from dualrec.config.settings import BaselineSettings

Parameters = Mapping[str, int | float | str]
State = dict[str, np.ndarray]
Histories = Sequence[
    np.ndarray
]  # int64 (length,) each: item numbers from 1, oldest first; may be empty
Scorer = Callable[
    [Histories], np.ndarray
]  # scores float32 (histories, N), higher is better; column i is item i + 1


@dataclass(frozen=True)
class Items:
    """The N items of the catalog.

    Attributes:
        item_ids: int64 (N,), ascending; item number i + 1 is item_ids[i].
        text_vectors: float32 (N, d), unit sentence embeddings of the titles.
    """

    item_ids: np.ndarray
    text_vectors: np.ndarray


@dataclass(frozen=True)
class TrainingData:
    """What a baseline may learn from.

    Attributes:
        training: histories of training users.
        validation: histories of validation users: their last items stop the training and judge the
            settings.
    """

    items: Items
    training: Histories
    validation: Histories
    settings: BaselineSettings

    def validation_ndcg(self, scorer: Scorer) -> float:
        """NDCG@10 of validation users' last items, as many as the settings say, each from all
        before it."""
        return next_item_ndcg(scorer, self.validation, self.settings.validation_places)


@dataclass(frozen=True)
class FittedBaseline:
    """A fitted baseline.

    Attributes:
        state: all that `Baseline.scorer` needs, as arrays; empty where the loss was never finite.
        ndcg_at_10: of the state, as `TrainingData.validation_ndcg` tells it.
        epochs: the same for every epoch, with its loss; empty where there are none.
    """

    state: State
    ndcg_at_10: float
    epochs: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Baseline:
    """One system of the comparison.

    Attributes:
        name: its row in every table.
        paper: what it is from: authors, year, title, venue.
        ranges: for each parameter the values that are tried: the published default first, then
            those that its authors
            tried or that are common for such a model.
        fit: fits it with one choice of parameters.
        scorer: makes the function that scores histories, from what `fit` found.
    """

    name: str
    paper: str
    ranges: Mapping[str, tuple[int | float | str, ...]]
    fit: Callable[[TrainingData, Parameters], FittedBaseline]
    scorer: Callable[[State, Items, Parameters], Scorer]
