"""What the models are asked: a user's history, whole for a night, or cut so that held-out movies stay hidden."""

from typing import Literal

import pyarrow as pa

from dualrec.schemas import REQUESTS

Protocol = Literal["last_five", "next_item"]

HELD_OUT: dict[Protocol, int] = {"last_five": 5, "next_item": 1}  # the last movies of each history


def night_requests(histories: pa.Table) -> pa.Table:
    """One request a user with the whole history, even an empty one."""
    return _requests(histories, "night", 0, 0)


def cut_requests(histories: pa.Table, protocol: Protocol, purpose: str) -> pa.Table:
    """One request a user without the movies that the protocol holds out. Users with no movie left over have none."""
    return _requests(histories, purpose, HELD_OUT[protocol], HELD_OUT[protocol] + 1)


def _requests(histories: pa.Table, purpose: str, held_out: int, shortest: int) -> pa.Table:
    rows = []
    columns = (histories.column(name).to_pylist() for name in ("user_id", "item_ids"))
    for user_id, item_ids in zip(*columns, strict=True):
        if len(item_ids) >= shortest:
            cut = len(item_ids) - held_out
            rows.append(
                {"user_id": user_id, "purpose": purpose, "item_ids": item_ids[:cut], "held_out": item_ids[cut:]}
            )
    return pa.Table.from_pylist(rows, schema=REQUESTS)
