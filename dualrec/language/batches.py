"""Which examples make a step, and as what tensors: batches of like lengths. Knows arrays; no model,
no Ray.

Examples of 100 tokens padded to 512 waste four fifths of the arithmetic. So rows of like length
share a step, and a step's rows are padded to the longest among them only.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dualrec.language.encode import ENCODED

IGNORED = -100  # what a label is where no loss is wanted
_WINDOW = (
    50  # steps' worth of rows that are sorted together: enough to be alike, few enough to be mixed
)


@dataclass(frozen=True)
class Shard:
    """A worker's examples in memory, one after another.

    Attributes:
        tokens: int32 (T,), all examples' tokens.
        starts: int64 (n + 1,), where each example begins in `tokens`, and the end.
        answers: int64 (n,), the position of the first answer token in each example.
    """

    tokens: np.ndarray
    starts: np.ndarray
    answers: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each example, int64 (n,)."""
        return np.diff(self.starts)

    def __len__(self) -> int:
        return len(self.answers)


@dataclass(frozen=True)
class TokenBatch:
    """What one forward pass takes.

    Attributes:
        input_ids: int64 (rows, longest), padded at the end with 0.
        labels: int64 (rows, longest): the token that should follow each position, or IGNORED.
        tokens: real tokens in it.
    """

    input_ids: np.ndarray
    labels: np.ndarray
    tokens: int

    @property
    def targets(self) -> int:
        """Places with a label."""
        return int((self.labels != IGNORED).sum())


def shard_of(tables: Iterable[pa.Table]) -> Shard:
    """Put tables of schema ENCODED together, in an order that does not depend on how they were
    cut."""
    table = pa.concat_tables([ENCODED.empty_table(), *tables]).sort_by(
        [("order", "ascending"), ("user_id", "ascending")]
    )
    lists = table.column("input_ids").combine_chunks()
    sizes = pc.list_value_length(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    return Shard(
        pc.list_flatten(lists).to_numpy(zero_copy_only=False),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        table.column("answer_start").to_numpy().astype(np.int64),
    )


def epoch_steps(lengths: np.ndarray, rows_a_step: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Every row once, in steps of `rows_a_step` rows of like length, in an order that changes with
    the epoch.

    The order of the steps is the same for all shards of equal size, so that workers who wait for
    each other work on rows of about the same length.

    Args:
        lengths: int64 (n,), tokens of each row.

    Returns:
        Row numbers of each step; the last steps of a shard may hold fewer.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    window = rows_a_step * _WINDOW
    pieces = [order[start : start + window] for start in range(0, len(order), window)]
    steps = [
        ordered[start : start + rows_a_step]
        for ordered in (piece[np.argsort(lengths[piece], kind="stable")] for piece in pieces)
        for start in range(0, len(ordered), rows_a_step)
    ]
    return [steps[step] for step in rng.permutation(len(steps))]


def split_step(rows: np.ndarray, count: int) -> list[np.ndarray]:
    """A step's rows in `count` parts, which are computed one after another; some may be empty."""
    return np.array_split(rows, count)


def validation_batches(
    lengths: np.ndarray, rows_a_batch: int, rank: int, workers: int
) -> list[np.ndarray]:
    """A worker's rows of every batch, shortest first. Equally many batches for every worker; some
    may be empty."""
    order = np.argsort(lengths, kind="stable")
    together = rows_a_batch * workers
    return [
        order[start : start + together][rank::workers] for start in range(0, len(order), together)
    ]


def collate(shard: Shard, rows: np.ndarray, whole: bool = False, pad_to: int = 0) -> TokenBatch:
    """Tensors for some rows.

    No rows give a batch of one example without labels: a worker with nothing to do must still take
        part in a step.

    Args:
        whole: a label at every position, not in the answer only.
        pad_to: at least so many positions a row; 0 pads to the longest row.
    """
    filler = len(rows) == 0
    rows = np.zeros(1, np.int64) if filler else rows
    examples = [shard.tokens[shard.starts[row] : shard.starts[row + 1]] for row in rows]
    longest = max(pad_to, *(len(example) for example in examples))
    input_ids = np.zeros((len(rows), longest), np.int64)
    labels = np.full((len(rows), longest), IGNORED, np.int64)
    for index, (row, example) in enumerate(zip(rows, examples, strict=True)):
        input_ids[index, : len(example)] = example
        first = 1 if whole else max(int(shard.answers[row]), 1)
        if not filler:
            labels[index, first - 1 : len(example) - 1] = example[first:]
    return TokenBatch(input_ids, labels, 0 if filler else sum(map(len, examples)))
