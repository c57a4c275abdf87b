import numpy as np
import pyarrow as pa

from dualrec.config.settings import load_settings
from dualrec.sequence.chunks import chunk_histories, last_inputs
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
