"""Item features of the sequence model: numbers, title words and genres. Knows tables and arrays.

Item numbers run from 1; 0 precedes the first movie of every history, and pads.
"""

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dualrec.config.settings import SequenceSettings
from dualrec.data.catalog import numbers_among

START = 0
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


@dataclass(frozen=True)
class ItemFeatures:
    """Features of N items.

    Attributes:
        item_ids: int64 (N,), ascending: item number i + 1 is item_ids[i].
        title_words: int64 (N + 1, title_length); 0 pads and stands for rare words.
        genres: float32 (N + 1, G), 1 where the item has the genre.
    """

    item_ids: np.ndarray
    title_words: np.ndarray
    genres: np.ndarray

    def numbers_of(self, item_ids: np.ndarray) -> np.ndarray:
        """Return the item numbers int64 (n,) of item ids int64 (n,); -1 for an unknown id."""
        return numbers_among(self.item_ids, item_ids)


def item_features(catalog: pa.Table, settings: SequenceSettings) -> ItemFeatures:
    """Build the features of a catalog (schema CATALOG, ordered by item_id).

    Words are numbered by how many titles hold them, then by spelling; those beyond the vocabulary
    are left out.
    """
    words = [_WORD.findall(title.lower()) for title in catalog.column("title").to_pylist()]
    counts = Counter(word for title in words for word in set(title))
    ordered = sorted(counts, key=lambda word: (-counts[word], word))[
        : settings.title_vocabulary - 1
    ]
    numbers = {word: number for number, word in enumerate(ordered, start=1)}
    title_words = np.zeros((len(words) + 1, settings.title_length), np.int64)
    for row, title in enumerate(words, start=1):
        known = [numbers[word] for word in title if word in numbers][: settings.title_length]
        title_words[row, : len(known)] = known
    return ItemFeatures(catalog.column("item_id").to_numpy(), title_words, genre_matrix(catalog))


def genre_matrix(catalog: pa.Table) -> np.ndarray:
    """Build the genres of a catalog's items, float32 (N + 1, G), 1 where the item has the genre;
    row 0 is of no item."""
    lists = catalog.column("genres").to_pylist()
    columns = {
        name: column
        for column, name in enumerate(sorted({name for names in lists for name in names}))
    }
    matrix = np.zeros((len(lists) + 1, max(len(columns), 1)), np.float32)
    for row, names in enumerate(lists, start=1):
        matrix[row, [columns[name] for name in names]] = 1
    return matrix
