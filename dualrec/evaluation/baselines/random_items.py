"""Random: unwatched items of the catalogue in random order. Says what guessing is worth."""

import numpy as np


def random_list(user_id: int, watched: list[int], item_ids: np.ndarray, length: int, seed: int) -> list[int]:
    """`length` unwatched items; the same for the same user and seed."""
    shuffled = np.random.default_rng([seed, user_id % 2**63]).permutation(item_ids)
    seen = set(watched)
    return [int(item) for item in shuffled[: length + len(seen)] if int(item) not in seen][:length]
