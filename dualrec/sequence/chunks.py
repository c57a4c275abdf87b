"""Training rows: long pieces of histories with a target at every position. Knows arrays and tables.

A window of 30 movies with one target each, as published, reads every movie 30 times; a chunk reads
it once.
"""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dualrec.sequence.features import START, ItemFeatures


def chunk_histories(
    histories: pa.Table, features: ItemFeatures, length: int
) -> dict[str, np.ndarray]:
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


def target_counts(chunks: dict[str, np.ndarray], items: int) -> dict[str, np.ndarray]:
    """How often each item is a target: counts int64 (1, items) of what `chunk_histories` gave."""
    return {"counts": np.bincount(chunks["targets"].ravel(), minlength=items + 1)[None, 1:]}


def last_inputs(
    item_ids: list[np.ndarray], features: ItemFeatures, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """The inputs from which the next movie of each history is predicted.

    Items that the model does not know are passed over.

    Returns:
        inputs int64 (n, longest), padded at the end, and the place int64 (n,) of the last movie in
        each.
    """
    known = [
        numbers[numbers > 0]
        for numbers in (features.numbers_of(np.asarray(ids, np.int64)) for ids in item_ids)
    ]
    rows = [np.concatenate([[START], ids])[-length:] for ids in known]
    inputs = np.zeros((len(rows), max(map(len, rows), default=1)), np.int64)
    for row, ids in enumerate(rows):
        inputs[row, : len(ids)] = ids
    return inputs, np.array([len(ids) - 1 for ids in rows], np.int64)
