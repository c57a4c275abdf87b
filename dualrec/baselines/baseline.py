"""The interface of a baseline: how it is fitted, how it scores, and which parameters are tried.

Comes in: histories as arrays of item numbers, which run from 1 in the order of the catalog. Goes
out: scores of every item, and lists of the best. Knows no user ids, files or Ray.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dualrec.config.settings import BaselineSettings

USERS_PER_BATCH = 256  # whose scores over all items are held at a time

Parameters = Mapping[str, int | float | str]
State = dict[str, np.ndarray]
# int64 (length,) each: item numbers from 1, oldest first; may be empty
Histories = Sequence[np.ndarray]
# scores float32 (histories, N), higher is better; column i is item i + 1
Scorer = Callable[[Histories], np.ndarray]


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
        validation: histories of validation users: their last items stop the training and choose the
            parameters.
    """

    items: Items
    training: Histories
    validation: Histories
    settings: BaselineSettings

    def validation_ndcg(self, scorer: Scorer) -> float:
        """Return the NDCG@10 of validation users' last `validation_places` items, each predicted
        from all before it."""
        return next_item_ndcg(scorer, self.validation, self.settings.validation_places)


@dataclass(frozen=True)
class FittedBaseline:
    """A fitted baseline.

    Attributes:
        state: all that `Baseline.scorer` needs, as arrays; empty where the loss was never finite.
        ndcg_at_10: of the state, from `TrainingData.validation_ndcg`.
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
        paper: its source: authors, year, title, venue.
        ranges: for each parameter the values to try: the published default first, then those that
            its authors tried or that are common for such a model.
        fit: fits it with one choice of parameters.
        scorer: returns the function that scores histories, from the state that `fit` returned.
    """

    name: str
    paper: str
    ranges: Mapping[str, tuple[int | float | str, ...]]
    fit: Callable[[TrainingData, Parameters], FittedBaseline]
    scorer: Callable[[State, Items, Parameters], Scorer]


def mask_watched(scores: np.ndarray, watched: Sequence[np.ndarray]) -> np.ndarray:
    """Set the scores of watched items to minus infinity, in place.

    Args:
        scores: float32 (n, N); column i is item number i + 1.
        watched: item numbers int64 of each row.
    """
    rows = np.repeat(np.arange(len(watched)), [len(numbers) for numbers in watched])
    if len(rows):
        scores[rows, np.concatenate(list(watched)) - 1] = -np.inf
    return scores


def top_item_numbers(scores: np.ndarray, length: int) -> np.ndarray:
    """Return the best item numbers of each row, best first, int32 (n, length); 0 fills up.

    Items with a score of minus infinity, or an undefined one (NaN), are left out.
    """
    import torch

    tensor, count = torch.from_numpy(scores), min(length, scores.shape[1])
    values, columns = tensor.topk(count, dim=1)
    if values.isnan().any():  # topk ranks NaN highest, so that any NaN shows here
        tensor.nan_to_num_(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
        values, columns = tensor.topk(count, dim=1)
    numbers = np.zeros((len(scores), length), np.int32)
    numbers[:, : columns.shape[1]] = torch.where(values > -torch.inf, columns + 1, 0).numpy()
    return numbers


def top_unwatched_items(
    scorer: Scorer,
    histories: Histories,
    length: int,
) -> np.ndarray:
    """Return the best unwatched items of every history, int32 (n, length).

    Histories are scored in batches, to bound the memory.
    """
    parts = [np.zeros((0, length), np.int32)]
    for start in range(0, len(histories), USERS_PER_BATCH):
        batch = histories[start : start + USERS_PER_BATCH]
        parts.append(top_item_numbers(mask_watched(scorer(batch), batch), length))
    return np.concatenate(parts)


def next_item_ndcg(scorer: Scorer, histories: Histories, count: int) -> float:
    """Return the mean NDCG@10 of the last `count` items of each history, each predicted from all
    before it."""
    visible, targets = [], []
    for numbers in histories:
        for end in range(max(len(numbers) - count, 1), len(numbers)):
            visible.append(numbers[:end])
            targets.append(numbers[end])
    if not targets:
        return 0.0
    hits = top_unwatched_items(scorer, visible, 10) == np.array(targets)[:, None]
    return float((hits / np.log2(np.arange(10) + 2)).sum(1).mean())
