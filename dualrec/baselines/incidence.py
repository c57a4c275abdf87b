"""Which user watched which item, as a sparse matrix. Takes histories; keeps no order and counts no
repeats."""

from itertools import chain

import numpy as np
from scipy.sparse import csr_array

from dualrec.baselines.baseline import Histories


def incidence(histories: Histories, items: int) -> csr_array:
    """Ones where a history holds an item, float32 (histories, items); column i is item number i +
    1."""
    users = np.repeat(np.arange(len(histories)), [len(numbers) for numbers in histories])
    columns = np.fromiter(chain.from_iterable(histories), np.int64, len(users)) - 1
    matrix = csr_array(
        (np.ones(len(users), np.float32), (users, columns)), shape=(len(histories), items)
    )
    matrix.data[:] = 1
    return matrix
