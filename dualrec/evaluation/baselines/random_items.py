"""Random: a random order of the catalogue. Says what guessing is worth."""

from zlib import crc32

import numpy as np

from dualrec.evaluation.baseline import Baseline, Histories, Items, Learned, Parameters, Scorer, State, TrainingData
from dualrec.evaluation.top_items import next_item_ndcg


def _scorer(state: State, items: Items, parameters: Parameters) -> Scorer:
    """The order is drawn from the seed and the history, so that it is the same whoever stands beside a user."""
    seed, width = int(state["seed"][0]), len(items.item_ids)

    def score(histories: Histories) -> np.ndarray:
        rows = [np.random.default_rng([seed, crc32(numbers.tobytes())]).random(width) for numbers in histories]
        return np.array(rows, np.float32).reshape(len(rows), width)

    return score


def _learn(data: TrainingData, parameters: Parameters) -> Learned:
    state = {"seed": np.array([data.settings.seed])}
    return Learned(state, next_item_ndcg(_scorer(state, data.items, parameters), data.validation))


BASELINE = Baseline("Random", "guessing", {}, _learn, _scorer)
