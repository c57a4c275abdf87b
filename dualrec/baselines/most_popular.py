"""MostPop: the items that most training users watched. Says what is worth knowing of nobody in
particular."""

import numpy as np

from dualrec.baselines.baseline import (
    Baseline,
    FittedBaseline,
    Histories,
    Items,
    Parameters,
    Scorer,
    State,
    TrainingData,
)


def _fit(data: TrainingData, parameters: Parameters) -> FittedBaseline:
    counts = np.bincount(
        np.concatenate(list(data.training)), minlength=len(data.items.item_ids) + 1
    )[1:]
    state = {"popularity": counts.astype(np.float32)}
    return FittedBaseline(state, data.validation_ndcg(_scorer(state, data.items, parameters)))


def _scorer(state: State, items: Items, parameters: Parameters) -> Scorer:
    def score(histories: Histories) -> np.ndarray:
        return np.tile(state["popularity"], (len(histories), 1))

    return score


BASELINE = Baseline("MostPop", "popularity among training users", {}, _fit, _scorer)
