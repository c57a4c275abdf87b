"""MostPop: the items that most training users watched, without those that the user has watched."""

import numpy as np


def popularity_order(item_ids: np.ndarray, popularity: np.ndarray) -> np.ndarray:
    """Item ids by falling popularity; ties by id."""
    return np.asarray(item_ids[np.lexsort((item_ids, -popularity))])


def most_popular_list(watched: list[int], order: np.ndarray, length: int) -> list[int]:
    """The first `length` unwatched items of a popularity order."""
    seen = set(watched)
    return [int(item) for item in order[: length + len(seen)] if int(item) not in seen][:length]
