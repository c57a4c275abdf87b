"""Training rows and batches: histories cut into chunks with a target at every position.

Comes in: tables of histories. Goes out: arrays of item numbers, batched by length. Knows nothing of
networks or Ray.

A window of 30 movies with one target each, as published, reads every movie 30 times; a chunk reads
it once. A batch is padded to its longest chunk, and of chunks in random order a third or more of it
is padding, which costs as much as movies do. So several batches are pooled and cut anew by length.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dualrec.sequence.features import START, ItemFeatures

ChunkBatch = dict[str, np.ndarray]  # inputs, targets and size, as `chunk_histories` returns them

# Batches that are pooled before they are cut by length: large enough to pad little, small enough
# that the order stays random.
POOLED_BATCHES = 16


def chunk_histories(histories: pa.Table, features: ItemFeatures, length: int) -> ChunkBatch:
    """Cut histories into chunks of at most `length` targets.

    Args:
        histories: schema HISTORIES.

    Returns:
        inputs int64 (n, length), targets int64 (n, length) and size int64 (n,), a row a chunk.
        Input t is the movie before target t, or START; both are item numbers, padded with 0 at the
        end.
    """
    lists = histories.column("item_ids").combine_chunks()
    numbers = features.numbers_of(
        pc.list_flatten(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    )
    assert (numbers > 0).all(), "histories hold an item that the catalog lacks"
    sizes = pc.list_value_length(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    pieces = [
        (begin, min(begin + length, end), begin == first)
        for first, end in pairwise(starts)
        for begin in range(first, end, length)
    ]
    inputs = np.zeros((len(pieces), length), np.int64)
    targets = np.zeros((len(pieces), length), np.int64)
    for row, (begin, end, opens) in enumerate(pieces):
        targets[row, : end - begin] = numbers[begin:end]
        inputs[row, 0] = START if opens else numbers[begin - 1]
        inputs[row, 1 : end - begin] = numbers[begin : end - 1]
    size = np.array([end - begin for begin, end, _ in pieces], np.int64)
    return {"inputs": inputs, "targets": targets, "size": size}


def target_counts(chunks: ChunkBatch, items: int) -> dict[str, np.ndarray]:
    """Count how often each item is a target in chunks: counts int64 (1, items)."""
    return {"counts": np.bincount(chunks["targets"].ravel(), minlength=items + 1)[None, 1:]}


def last_inputs(
    item_ids: list[np.ndarray], features: ItemFeatures, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the inputs from which the next movie of each history is predicted.

    Items that the model does not know are left out.

    Returns:
        inputs int64 (n, longest), padded at the end, and the position int64 (n,) of the last movie
        in each.
    """
    rows = []
    for ids in item_ids:
        numbers = features.numbers_of(np.asarray(ids, np.int64))
        rows.append(np.concatenate([[START], numbers[numbers > 0]])[-length:])
    inputs = np.zeros((len(rows), max(map(len, rows), default=1)), np.int64)
    for row, numbers in enumerate(rows):
        inputs[row, : len(numbers)] = numbers
    return inputs, np.array([len(numbers) - 1 for numbers in rows], np.int64)


def length_bucketed_batches(
    groups: Iterable[ChunkBatch], batch_size: int, seed: int
) -> Iterator[ChunkBatch]:
    """Cut each group into batches of `batch_size` chunks on average, in random order.

    Batches of a group hold about equally many targets, so more chunks where chunks are short: a
    target then weighs about the same in a step whatever the length of its history. Groups of equal
    size give equally many batches, and workers with the same seed have batches of about the same
    length at each step, so that none waits for the others.

    Args:
        groups: chunks as `chunk_histories` returns them, about POOLED_BATCHES * batch_size in each.
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
    """Return where to cut sizes int64 (n,) into parts of about equal sums, none of them empty:
    int64 (parts - 1,)."""
    sums, number = np.cumsum(sizes), np.arange(1, parts)
    cuts = np.searchsorted(sums, sums[-1] * number / parts)
    rising = np.maximum.accumulate(cuts - number) + number
    return np.clip(rising, number, len(sizes) - parts + number)
