"""SKNN: what the training users most like a user watched. Order-blind but for `recent`.

A history is the set of its items. Its neighbours are the training histories of the largest cosine,
and an item's score is the sum of the cosines of the neighbours that hold it. The paper draws its
neighbours from a sample of past sessions, to be fast; here every training history may be one.
`recent` takes the neighbours of the last items alone, as an option of the authors' later framework
does (Ludewig and Jannach 2018, "Evaluation of Session-based Recommendation Algorithms"); the paper
takes those of the whole session.
"""

from itertools import chain

import numpy as np
from scipy.sparse import csr_array

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

QUERIES = 128  # histories whose cosines with every training history are held at a time


def incidence(histories: Histories, items: int) -> csr_array:
    """Return ones where a history holds an item, float32 (histories, items).

    Column i is item number i + 1; order and repeats are lost.
    """
    users = np.repeat(np.arange(len(histories)), [len(numbers) for numbers in histories])
    columns = np.fromiter(chain.from_iterable(histories), np.int64, len(users)) - 1
    matrix = csr_array(
        (np.ones(len(users), np.float32), (users, columns)), shape=(len(histories), items)
    )
    matrix.data[:] = 1
    return matrix


def neighbours(queries: csr_array, training: csr_array, most: int) -> csr_array:
    """Return the cosines of each query with the training histories nearest to it.

    Args:
        queries: ones float32 (n, N).
        training: ones float32 (training histories, N).
        most: the number of neighbours of a query.

    Returns:
        float32 (n, training histories), at most `most` in a row.
    """
    lengths = np.sqrt(np.outer(queries.sum(1), training.sum(1)))
    cosines = (queries @ training.T).toarray() / np.maximum(lengths, 1).astype(np.float32)
    nearest = np.argpartition(-cosines, min(most, training.shape[0]) - 1, axis=1)[:, :most]
    rows = np.repeat(np.arange(len(cosines)), nearest.shape[1])
    return csr_array((cosines[rows, nearest.ravel()], (rows, nearest.ravel())), shape=cosines.shape)


def _scorer(state: State, items: Items, parameters: Parameters) -> Scorer:
    width, recent, most = (
        len(items.item_ids),
        int(parameters["recent"]),
        int(parameters["neighbours"]),
    )
    ones, users = np.ones(len(state["indices"]), np.float32), len(state["indptr"]) - 1
    training = csr_array((ones, state["indices"], state["indptr"]), shape=(users, width))

    def score(histories: Histories) -> np.ndarray:
        scores = np.zeros((len(histories), width), np.float32)
        for begin in range(0, len(histories), QUERIES):
            # -0 is the whole history
            recent_items = [numbers[-recent:] for numbers in histories[begin : begin + QUERIES]]
            nearest = neighbours(incidence(recent_items, width), training, most)
            scores[begin : begin + QUERIES] = (nearest @ training).toarray()
        return scores

    return score


def _fit(data: TrainingData, parameters: Parameters) -> FittedBaseline:
    training = incidence(data.training, len(data.items.item_ids))
    state = {"indices": training.indices, "indptr": training.indptr}
    return FittedBaseline(state, data.validation_ndcg(_scorer(state, data.items, parameters)))


BASELINE = Baseline(
    "SKNN",
    "Jannach and Ludewig 2017, When Recurrent Neural Networks meet the Neighborhood for "
    "Session-Based Recommendation, RecSys",
    {
        "neighbours": (100, 50, 500, 1000),
        "recent": (0, 5, 10, 20),
    },
    _fit,
    _scorer,
)
