"""Attention by addition over what came before, as NARM and STAMP have it. Knows tensors; not items
or histories.

In: queries, keys and values of every place. Out: for every place the weighted sum of the values up
to it.
"""

import torch
from torch import Tensor


def additive_attention(queries: Tensor, keys: Tensor, values: Tensor, weight: Tensor) -> Tensor:
    """Sum over i <= t of (weight . sigmoid(query_t + key_i)) value_i; the weights are not
    normalised.

    Args:
        queries: float32 (n, length, d).
        keys: float32 (n, length, d).
        values: float32 (n, length, e).
        weight: float32 (d,).

    Returns:
        float32 (n, length, e); place t depends on nothing after t.
    """
    # One place at a time: the hidden layer is then (n, t, d), not (n, length, length, d), and no
    # future is computed.
    sums = []
    for place in range(queries.shape[1]):
        hidden = torch.sigmoid(queries[:, place, None] + keys[:, : place + 1])
        attention = hidden @ weight
        sums.append((attention[:, None] @ values[:, : place + 1])[:, 0])
    return torch.stack(sums, dim=1)
