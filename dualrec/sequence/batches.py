"""Training batches of chunks of like length. Knows arrays.

A batch is padded to its longest chunk, and of chunks in any order a third or more of it is padding,
which costs as much as movies do. So some batches are read together, and cut anew along their
chunks' lengths.
"""

from collections.abc import Iterable, Iterator

import numpy as np

Batch = dict[str, np.ndarray]

# batches that are cut together: their chunks are drawn as before, and what shares a step is what is
# alike
GROUPED = 16


def batches_of_like_length(groups: Iterable[Batch], batch_size: int, seed: int) -> Iterator[Batch]:
    """Cut each group into batches of `batch_size` chunks on average, in random order.

    Batches of a group hold about equally many targets, so more chunks where they are short: a
    target then weighs about the same in a step whatever the length of its history. Groups of as
    many chunks give as many batches, and those of workers with the same seed are at each step of
    about the same length, so that none waits for the others.

    Args:
        groups: what `chunk_histories` gave, of any number of chunks each; GROUPED * batch_size is
            meant.
    """
    random = np.random.default_rng(seed)
    for group in groups:
        by_length = np.argsort(group["size"], kind="stable")
        parts = np.split(
            by_length, _cuts(group["size"][by_length], -(-len(by_length) // batch_size))
        )
        for part in random.permutation(len(parts)):
            yield {name: values[parts[part]] for name, values in group.items()}


def _cuts(sizes: np.ndarray, parts: int) -> np.ndarray:
    """Where to cut int64 sizes (n,) into parts of about equal sums, none of them empty: int64
    (parts - 1,)."""
    sums, number = np.cumsum(sizes), np.arange(1, parts)
    cuts = np.searchsorted(sums, sums[-1] * number / parts)
    rising = np.maximum.accumulate(cuts - number) + number
    return np.clip(rising, number, len(sizes) - parts + number)
