"""The nodes of a session's graph: its distinct items. Knows padded item numbers; not networks or
edges.

An item that comes back in a session is one node. It is kept at its first place, and its other
places refer to it, so that graphs of all sessions of a batch are masks over places.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SessionNodes:
    """Which places of each session hold which node.

    Attributes:
        real: bool (n, length), places that are no padding.
        same: bool (n, length, length), pairs of real places that hold the same item.
        first: bool (n, length), the first place of each item: one for each node.
    """

    real: Tensor
    same: Tensor
    first: Tensor


def session_nodes(inputs: Tensor, size: Tensor) -> SessionNodes:
    """The nodes of sessions that are padded at the end.

    Args:
        inputs: int64 (n, length), item numbers; any number may be a real one, the padding's too.
        size: int64 (n,), how many inputs each row has.
    """
    real = torch.arange(inputs.shape[1]) < size[:, None]
    same = (inputs[:, :, None] == inputs[:, None, :]) & real[:, :, None] & real[:, None, :]
    return SessionNodes(real, same, real & ~same.tril(-1).any(2))
