"""Lists as a table, ours as they were measured and those of others: one row a protocol, user and
rank.

    protocol string, user_id int64, rank int (from 1), item_id int64, data_version string

item_id is null where a title is in no catalog. data_version is that of the histories which the
lists were made from, as `dualrec prepare` prints it: lists made from other histories have seen what
is hidden here.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dualrec.config.settings import StoreSettings
from dualrec.errors import InputError
from dualrec.evaluation.answers import Answers, numbers_of_lists
from dualrec.evaluation.metrics import LENGTH
from dualrec.evaluation.protocols import Cases
from dualrec.evaluation.scorers import Asked
from dualrec.storage.filesystems import error_text, file_system
from dualrec.storage.schemas import conform

LISTS = pa.schema(
    [
        ("protocol", pa.string()),
        ("user_id", pa.int64()),
        ("rank", pa.int32()),
        ("item_id", pa.int64()),
        ("data_version", pa.string()),
    ]
)


def lists_table(
    system: str,
    protocol: str,
    cases: Cases,
    lists: np.ndarray,
    item_ids: np.ndarray,
    data_version: str,
) -> pa.Table:
    """Measured lists as schema LISTS, and which `system` they are of."""
    row, place = np.nonzero(lists)
    numbers = lists[row, place]
    items = pa.array(item_ids[np.maximum(numbers, 1) - 1], mask=numbers < 0)
    columns = [
        pa.array(
            [protocol] * len(row), pa.string()
        ),  # typed, since a system may list nothing at all
        pa.array(cases.user_ids[row]),
        pa.array(place + 1, pa.int32()),
        items,
        pa.array([data_version] * len(row), pa.string()),
    ]
    return pa.table(columns, schema=LISTS).append_column(
        "system", pa.array([system] * len(row), pa.string())
    )


def read_lists(
    path: str,
    asked: Asked,
    item_ids: np.ndarray,
    data_version: str,
    store: StoreSettings = StoreSettings(),
) -> dict[str, Answers]:
    """Another system's lists of each protocol that the file holds.

    Raises:
        InputError: the file is not there or lacks a column; lists were made from other data, hold
            unknown items or
            repeated ranks, or are not those of the users who are asked about. Counts what is wrong
            and names some.
    """
    filesystem, place = file_system(path, store)
    try:
        table = conform(pq.read_table(place, filesystem=filesystem, partitioning=None), LISTS, path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(
            f"{path}: no Parquet file of lists can be read there: {error_text(error)}"
        ) from None
    _check_version(table, path, data_version)
    found = {}
    for protocol in pc.unique(table.column("protocol")).to_pylist():
        if protocol not in asked or asked[protocol].candidates is not None:
            whole = ", ".join(name for name, cases in asked.items() if cases.candidates is None)
            raise InputError(
                f"{path}: lists of the protocol {protocol} cannot be measured here; there are {whole}"
            )
        rows = table.filter(pc.equal(table.column("protocol"), protocol))
        found[protocol] = Answers(_checked(rows, asked[protocol], item_ids, f"{path}, {protocol}"))
    return found


def _check_version(table: pa.Table, path: str, data_version: str) -> None:
    others = [
        version
        for version in pc.unique(table.column("data_version")).to_pylist()
        if version != data_version
    ]
    if others or not len(table):
        raise InputError(
            f"{path}: made from the histories {', '.join(map(str, others)) or 'of no row'}, but the truth here is of "
            f"{data_version}: make the lists from these histories, or evaluate with the settings of those"
        )


def _checked(table: pa.Table, cases: Cases, item_ids: np.ndarray, where: str) -> np.ndarray:
    """The lists of all cases, int32 (n, LENGTH)."""
    users, ranks, items = (table.column(name).to_numpy() for name in ("user_id", "rank", "item_id"))
    _none_of(
        np.setdiff1d(cases.user_ids, users),
        where,
        "users have no list",
        "every user who is asked about needs one",
    )
    _none_of(
        np.setdiff1d(users, cases.user_ids),
        where,
        "users are not asked about",
        "leave their lists out",
    )
    known = items[~np.isnan(items)].astype(np.int64) if items.dtype.kind == "f" else items
    _none_of(
        np.setdiff1d(known, item_ids),
        where,
        "items are in no catalog",
        "leave them out, or make them null",
    )
    _none_of(np.unique(ranks[ranks < 1]), where, "ranks are below 1", "number each list from 1")
    keys, counts = np.unique(np.stack([users, ranks], axis=1), axis=0, return_counts=True)
    _none_of(
        np.unique(keys[counts > 1][:, 0]),
        where,
        "users have a rank twice",
        "one item a user and rank",
    )
    ordered = table.sort_by([("user_id", "ascending"), ("rank", "ascending")])
    starts = np.searchsorted(ordered.column("user_id").to_numpy(), cases.user_ids, side="left")
    ends = np.searchsorted(ordered.column("user_id").to_numpy(), cases.user_ids, side="right")
    listed = ordered.column("item_id").to_pylist()
    lists = [
        listed[start : min(end, start + LENGTH)] for start, end in zip(starts, ends, strict=True)
    ]
    repeated = [
        user
        for user, one in zip(cases.user_ids, lists, strict=True)
        if len(set(one) - {None}) < len(one) - one.count(None)
    ]
    _none_of(np.array(repeated), where, "users have an item twice", "list each item once")
    return numbers_of_lists(lists, item_ids)


def _none_of(wrong: np.ndarray, where: str, what: str, mend: str) -> None:
    if len(wrong):
        names = ", ".join(str(one) for one in wrong[:5]) + (", ..." if len(wrong) > 5 else "")
        raise InputError(f"{where}: {len(wrong)} {what} ({names}): {mend}")
