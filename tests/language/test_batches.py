import numpy as np
import pyarrow as pa
import pytest

from dualrec.language.batches import (
    IGNORED,
    collate,
    epoch_steps,
    shard_of,
    split_step,
    validation_batches,
)
from dualrec.language.encode import ENCODED


def encoded(examples: dict[int, tuple[list[int], int]]) -> pa.Table:
    """Examples by their order: tokens, and the place where the answer begins."""
    return pa.Table.from_pylist(
        [
            {"user_id": order, "order": order, "input_ids": tokens, "answer_start": start}
            for order, (tokens, start) in examples.items()
        ],
        schema=ENCODED,
    )


def test_labels_are_the_next_tokens_of_the_answer_only() -> None:
    shard = shard_of([encoded({0: ([11, 12, 13, 14, 15], 3), 1: ([21, 22, 23], 1)})])
    batch = collate(shard, np.array([0, 1]))
    assert batch.input_ids.tolist() == [[11, 12, 13, 14, 15], [21, 22, 23, 0, 0]]
    no = IGNORED
    assert batch.labels.tolist() == [[no, no, 14, 15, no], [22, 23, no, no, no]]
    assert (batch.tokens, batch.targets) == (8, 4)


def test_on_all_of_it_every_token_but_the_first_is_a_label() -> None:
    batch = collate(shard_of([encoded({0: ([11, 12, 13], 2)})]), np.array([0]), whole=True)
    assert batch.labels.tolist() == [[12, 13, IGNORED]]


def test_padding_to_a_length_adds_no_label() -> None:
    shard = shard_of([encoded({0: ([11, 12, 13], 2)})])
    batch = collate(shard, np.array([0]), pad_to=6)
    assert batch.input_ids.shape == (1, 6)
    assert batch.targets == 1 and batch.tokens == 3


def test_a_worker_without_rows_gets_a_batch_without_labels() -> None:
    batch = collate(shard_of([encoded({0: ([11, 12, 13], 1)})]), np.array([], np.int64))
    assert batch.input_ids.shape == (1, 3)
    assert batch.targets == batch.tokens == 0


def test_a_shard_does_not_depend_on_how_it_arrives() -> None:
    table = encoded({order: ([order] * (order + 2), 1) for order in range(6)})
    one, other = shard_of([table]), shard_of([table.slice(4), table.slice(0, 4)])
    assert np.array_equal(one.tokens, other.tokens) and np.array_equal(one.starts, other.starts)
    assert len(shard_of([])) == 0


def test_every_row_comes_once_an_epoch_in_steps_of_like_length(random: np.random.Generator) -> None:
    lengths = random.integers(50, 400, 1003)
    steps = epoch_steps(lengths, 8, seed=0, epoch=1)
    assert sorted(np.concatenate(steps).tolist()) == list(range(1003))
    padded = sum(int(lengths[rows].max()) * len(rows) for rows in steps)
    assert padded < 1.1 * lengths.sum()
    assert not np.array_equal(
        np.concatenate(steps), np.concatenate(epoch_steps(lengths, 8, seed=0, epoch=2))
    )
    first_halves = [lengths[rows].mean() for rows in steps[: len(steps) // 2]]
    assert np.mean(first_halves) == pytest.approx(
        lengths.mean(), rel=0.15
    )  # not all the short ones first


def test_workers_take_equally_many_steps_of_about_the_same_length(
    random: np.random.Generator,
) -> None:
    shards = [random.integers(50, 400, 400) for _ in range(2)]
    one, two = (epoch_steps(lengths, 4, seed=0, epoch=3) for lengths in shards)
    assert len(one) == len(two)
    apart = [abs(shards[0][a].mean() - shards[1][b].mean()) for a, b in zip(one, two, strict=True)]
    assert np.mean(apart) < 30


def test_parts_of_a_step_hold_its_rows() -> None:
    assert [part.tolist() for part in split_step(np.array([4, 5, 6]), 2)] == [[4, 5], [6]]
    assert len(split_step(np.array([4]), 3)) == 3


def test_validation_rows_come_once_over_all_workers() -> None:
    lengths = np.array([5, 3, 9, 1, 7])
    batches = [validation_batches(lengths, 2, rank, 2) for rank in (0, 1)]
    assert len(batches[0]) == len(batches[1]) == 2
    assert sorted(np.concatenate([*batches[0], *batches[1]]).tolist()) == [0, 1, 2, 3, 4]
