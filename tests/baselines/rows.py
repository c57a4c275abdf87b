"""Rows of item numbers as networks read them."""

import torch

from dualrec.baselines.networks import HistoryBatch


def batch(*rows: list[int]) -> HistoryBatch:
    """Rows of one length, of users outside training."""
    return HistoryBatch(
        torch.tensor(rows),
        torch.tensor([len(row) for row in rows]),
        torch.zeros(len(rows), dtype=torch.int64),
    )
