import numpy as np
import pyarrow as pa
import pytest

from dualrec.config.settings import load_settings
from dualrec.sequence.chunks import (
    POOLED_BATCHES,
    ChunkBatch,
    chunk_histories,
    last_inputs,
    length_bucketed_batches,
)
from dualrec.sequence.features import item_features
from tests.conftest import histories_table


def test_every_movie_is_a_target_once_and_follows_its_input(catalog: pa.Table) -> None:
    features = item_features(catalog, load_settings().sequence)
    chunks = chunk_histories(histories_table({1: [1, 2, 3, 4, 5], 2: [6], 3: []}), features, 2)
    assert chunks["inputs"].tolist() == [[0, 1], [2, 3], [4, 0], [0, 0]]
    assert chunks["targets"].tolist() == [[1, 2], [3, 4], [5, 0], [6, 0]]
    assert chunks["size"].tolist() == [2, 2, 1, 1]


def test_the_most_recent_movies_are_what_is_predicted_from(catalog: pa.Table) -> None:
    features = item_features(catalog, load_settings().sequence)
    histories = [
        np.array([1, 2, 3, 4], np.int64),
        np.array([], np.int64),
        np.array([5, 99], np.int64),
    ]
    inputs, last = last_inputs(histories, features, 3)
    assert inputs.tolist() == [[2, 3, 4], [0, 0, 0], [0, 5, 0]]
    assert last.tolist() == [2, 0, 1]


BATCH = 8


def _group(sizes: np.ndarray) -> ChunkBatch:
    return {"size": sizes, "inputs": np.arange(len(sizes))}


def _batches(*groups: np.ndarray, seed: int = 0) -> list[ChunkBatch]:
    return list(length_bucketed_batches([_group(sizes) for sizes in groups], BATCH, seed))


@pytest.fixture
def sizes() -> np.ndarray:
    return np.random.default_rng(3).integers(1, 101, POOLED_BATCHES * BATCH)


def test_every_chunk_is_in_one_batch(sizes: np.ndarray) -> None:
    rows = np.concatenate([batch["inputs"] for batch in _batches(sizes)])
    assert sorted(rows) == list(range(len(sizes)))


def test_a_chunk_keeps_its_values_together(sizes: np.ndarray) -> None:
    for batch in _batches(sizes):
        assert (batch["size"] == sizes[batch["inputs"]]).all()


def test_little_of_a_batch_is_padding(sizes: np.ndarray) -> None:
    def filled(batches: list[np.ndarray]) -> float:
        return sum(each.sum() for each in batches) / sum(each.max() * len(each) for each in batches)

    assert (
        filled([batch["size"] for batch in _batches(sizes)])
        > 0.9
        > 0.7
        > filled(np.split(sizes, POOLED_BATCHES))
    )


def test_batches_of_a_group_have_about_as_many_targets(sizes: np.ndarray) -> None:
    targets = np.array([batch["size"].sum() for batch in _batches(sizes)])
    assert (
        abs(targets - sizes.sum() / POOLED_BATCHES).max() <= 100
    )  # a chunk is in one batch or the next


@pytest.mark.parametrize("chunks", [1, BATCH, BATCH + 1, POOLED_BATCHES * BATCH - 1])
def test_workers_with_as_many_chunks_have_as_many_batches(chunks: int) -> None:
    random = np.random.default_rng(chunks)
    for sizes in (random.integers(1, 101, chunks), np.where(np.arange(chunks) == 0, 100, 1)):
        assert len(_batches(sizes)) == -(-chunks // BATCH)
        assert all(len(batch["size"]) for batch in _batches(sizes))


def test_workers_of_one_seed_are_at_like_lengths_at_each_step() -> None:
    first, second = (
        np.random.default_rng(worker).integers(1, 101, POOLED_BATCHES * BATCH)
        for worker in range(2)
    )
    pairs = zip(_batches(first, first), _batches(second, second), strict=True)
    assert max(abs(int(one["size"].max()) - int(other["size"].max())) for one, other in pairs) < 20


def test_order_is_random_and_that_of_the_seed(sizes: np.ndarray) -> None:
    def longest(seed: int) -> list[int]:
        return [int(batch["size"].max()) for batch in _batches(sizes, seed=seed)]

    assert longest(1) == longest(1) != longest(2)
    assert longest(1) != sorted(longest(1))
