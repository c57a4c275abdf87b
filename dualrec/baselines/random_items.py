"""Random: a random order of the catalog. Says what guessing is worth."""

from collections import Counter
from zlib import crc32

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


def _scorer(state: State, items: Items, parameters: Parameters) -> Scorer:
    """The order is drawn from the seed, the history, and how many equal histories stand before it:
    users of whom nothing is known get different lists."""
    seed, width = int(state["seed"][0]), len(items.item_ids)

    def score(histories: Histories) -> np.ndarray:
        met: Counter[int] = Counter()
        scores = np.zeros((len(histories), width), np.float32)
        for row, numbers in enumerate(histories):
            key = crc32(numbers.tobytes())
            scores[row] = np.random.default_rng([seed, key, met[key]]).random(width)
            met[key] += 1
        return scores

    return score


def _fit(data: TrainingData, parameters: Parameters) -> FittedBaseline:
    state = {"seed": np.array([data.settings.seed])}
    return FittedBaseline(state, data.validation_ndcg(_scorer(state, data.items, parameters)))


BASELINE = Baseline("Random", "guessing", {}, _fit, _scorer)
