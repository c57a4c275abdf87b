"""SLIM: sparse weights between items, by which a history as a set of items predicts each item.
Order-blind.

Training histories come in as ones and zeros; each item's column is regressed on all others, with
weights that are not negative and an elastic net over them. An item's score is the sum of its
weights from the items of a history.
"""

import numpy as np
from scipy.sparse import csr_array, hstack

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
from dualrec.baselines.sknn import incidence

TARGETS = 512  # items whose weights are fitted at a time, to bound the memory
SWEEPS = 200
TOLERANCE = 1e-3  # the largest change of a weight in a sweep at which the descent ends


def item_weights(matrix: csr_array, l1: float, l2: float) -> csr_array:
    """Return the W of the paper: argmin 1/2 |A - A W|^2 + l2/2 |W|^2 + l1 |W|_1, W >= 0, diag(W) =
    0.

    Args:
        matrix: A, ones float32 (users, N).

    Returns:
        float32 (N, N); column j predicts item j.
    """
    gram = (matrix.T @ matrix).toarray()
    columns = [
        _descent(gram, np.arange(len(gram))[begin : begin + TARGETS], l1, l2)
        for begin in range(0, len(gram), TARGETS)
    ]
    return csr_array(hstack(columns))


def _descent(gram: np.ndarray, targets: np.ndarray, l1: float, l2: float) -> csr_array:
    """Return the columns of W of these targets, (N, targets), by coordinate descent on the Gram
    matrix A'A."""
    weights = np.zeros((len(gram), len(targets)), np.float32)
    errors = gram[targets].copy()  # A'(a_j - A w_j) of each target j
    for _ in range(SWEEPS):
        largest = 0.0
        for item, row in enumerate(gram):
            fitted = (errors[:, item] + row[item] * weights[item] - l1) / (row[item] + l2)
            change = np.where(targets == item, 0, np.maximum(fitted, 0)) - weights[item]
            changed = change.nonzero()[0]
            if len(changed):
                weights[item] += change
                errors[changed] -= change[changed, None] * row
                largest = max(largest, float(np.abs(change).max()))
        if largest < TOLERANCE:
            break
    return csr_array(weights)


def _scorer(state: State, items: Items, parameters: Parameters) -> Scorer:
    width = len(items.item_ids)
    weights = csr_array((state["weights"], state["indices"], state["indptr"]), shape=(width, width))

    def score(histories: Histories) -> np.ndarray:
        return (incidence(histories, width) @ weights).toarray()

    return score


def _fit(data: TrainingData, parameters: Parameters) -> FittedBaseline:
    matrix = incidence(data.training, len(data.items.item_ids))
    weights = item_weights(matrix, float(parameters["l1"]), float(parameters["l2"]))
    state = {"weights": weights.data, "indices": weights.indices, "indptr": weights.indptr}
    return FittedBaseline(state, data.validation_ndcg(_scorer(state, data.items, parameters)))


BASELINE = Baseline(
    "SLIM",
    "Ning and Karypis 2011, SLIM: Sparse Linear Methods for Top-N Recommender Systems, ICDM",
    {
        "l1": (1.0, 0.1, 0.5, 2.0, 4.0),
        "l2": (1.0, 0.1, 0.5, 2.0, 3.0, 4.0, 5.0, 7.5, 10.0),
    },
    _fit,
    _scorer,
)
