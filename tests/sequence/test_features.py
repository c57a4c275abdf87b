import numpy as np
import pyarrow as pa

from dualrec.config.settings import load_settings
from dualrec.sequence.features import item_features


def test_items_words_and_genres_are_numbered(catalog: pa.Table) -> None:
    features = item_features(catalog, load_settings(None, ["sequence.title_length=4"]).sequence)
    assert features.title_words.shape == (7, 4)
    assert features.genres.shape == (7, 7)
    assert not features.title_words[0].any()
    assert not features.genres[0].any()
    sabrina_1954, sabrina_1995 = features.title_words[5], features.title_words[6]
    assert sabrina_1954[0] == sabrina_1995[0] > 0
    assert sabrina_1954[1] != sabrina_1995[1]
    assert features.genres[1].sum() == 3


def test_ids_become_numbers_and_unknown_ids_minus_one(catalog: pa.Table) -> None:
    features = item_features(catalog, load_settings().sequence)
    assert features.numbers_of(np.array([6, 1, 99, 0])).tolist() == [6, 1, -1, -1]


def test_rare_words_are_left_out_of_a_small_vocabulary(catalog: pa.Table) -> None:
    features = item_features(catalog, load_settings(None, ["sequence.title_vocabulary=3"]).sequence)
    assert features.title_words.max() == 2
