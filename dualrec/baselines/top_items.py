"""The best items of many users at once, from a matrix of scores. Knows arrays; not what made the
scores."""

from collections.abc import Callable, Sequence

import numpy as np

USERS_PER_BATCH = 256  # users whose scores over all items are held at a time


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
    """The best item numbers of each row, best first, int32 (n, length); 0 where there are no more.

    Items with a score of minus infinity, or none (NaN), are never among them.
    """
    import torch

    kept, count = torch.from_numpy(scores), min(length, scores.shape[1])
    values, places = kept.topk(count, dim=1)
    if values.isnan().any():  # to topk it is the greatest, so one anywhere shows here
        values, places = kept.nan_to_num_(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf).topk(
            count, dim=1
        )
    numbers = np.zeros((len(scores), length), np.int32)
    numbers[:, : places.shape[1]] = torch.where(values > -torch.inf, places + 1, 0).numpy()
    return numbers


def top_unwatched_items(
    scorer: Callable[[Sequence[np.ndarray]], np.ndarray],
    histories: Sequence[np.ndarray],
    length: int,
) -> np.ndarray:
    """The best unwatched items of every history, int32 (n, length), in batches of bounded memory."""
    parts = [np.zeros((0, length), np.int32)]
    for start in range(0, len(histories), USERS_PER_BATCH):
        some = histories[start : start + USERS_PER_BATCH]
        parts.append(top_item_numbers(mask_watched(scorer(some), some), length))
    return np.concatenate(parts)


def next_item_ndcg(
    scorer: Callable[[Sequence[np.ndarray]], np.ndarray],
    histories: Sequence[np.ndarray],
    places: int,
) -> float:
    """Mean NDCG@10 of the last items of each history, so many `places` of it, each predicted from
    all before it."""
    cuts = [(one, end) for one in histories for end in range(max(len(one) - places, 1), len(one))]
    if not cuts:
        return 0.0
    top = top_unwatched_items(scorer, [one[:end] for one, end in cuts], 10)
    hits = top == np.array([one[end] for one, end in cuts])[:, None]
    return float((hits / np.log2(np.arange(10) + 2)).sum(1).mean())
