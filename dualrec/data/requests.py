"""What the models are asked: a user's history, whole for a night, or cut so that held-out movies
stay hidden."""

from collections.abc import Sequence
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from dualrec.storage.schemas import REQUESTS

Protocol = Literal["last_five", "next_item"]
Decoding = Literal["free", "shortlist"]

HELD_OUT: dict[Protocol, int] = {"last_five": 5, "next_item": 1}  # the last movies of each history


def night_requests(histories: pa.Table, decoding: Decoding) -> pa.Table:
    """One request a user with the whole history, even an empty one."""
    return _requests(histories, "night", decoding, 0, 0)


def cut_requests(
    histories: pa.Table, protocol: Protocol, purpose: str, decoding: Decoding
) -> pa.Table:
    """One request a user without the movies that the protocol holds out. Users with no movie left
    over have none."""
    return _requests(histories, purpose, decoding, HELD_OUT[protocol], HELD_OUT[protocol] + 1)


def made_for(requests: pa.Table, purpose: str, decoding: Decoding) -> pa.Table:
    """The requests, or the traces of requests, of one purpose and decoding."""
    same = pc.and_(
        pc.equal(requests.column("purpose"), purpose),
        pc.equal(requests.column("decoding"), decoding),
    )
    return requests.filter(same)


def of_purposes(requests: pa.Table, purposes: Sequence[str]) -> pa.Table:
    """The requests, or the traces of requests, of some purposes."""
    return requests.filter(pc.is_in(requests.column("purpose"), pa.array(purposes, pa.string())))


def _requests(
    histories: pa.Table, purpose: str, decoding: Decoding, held_out: int, shortest: int
) -> pa.Table:
    rows = []
    columns = (histories.column(name).to_pylist() for name in ("user_id", "item_ids"))
    for user_id, item_ids in zip(*columns, strict=True):
        if len(item_ids) >= shortest:
            cut = len(item_ids) - held_out
            row = {"user_id": user_id, "purpose": purpose, "decoding": decoding}
            rows.append({**row, "item_ids": item_ids[:cut], "held_out": item_ids[cut:]})
    return pa.Table.from_pylist(rows, schema=REQUESTS)
