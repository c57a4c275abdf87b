"""Is a staged night whole? A folder of Parquet in; its files, rows and users out, or an error that
counts what is wrong.

Reads every file's bytes once for its checksum, its footer for the schema, and three of its columns.
Knows nothing of Delta, models or settings.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dualrec.errors import PublishError
from dualrec.publishing.manifest import LISTS, PublishedFile
from dualrec.storage.filesystems import map_in_threads, translate_storage_errors
from dualrec.storage.schemas import RECOMMENDATIONS
from dualrec.storage.workspace import Workspace

CHUNK = 8 << 20
SHOWN = 5  # how many of the wrong users an error names


@dataclass(frozen=True)
class Verified:
    """A staged night that is whole.

    Attributes:
        files: with paths in the recommendations folder.
        users, rows: how many.
    """

    files: tuple[PublishedFile, ...]
    users: int
    rows: int


class _Read(NamedTuple):
    file: PublishedFile
    user_ids: np.ndarray
    ranks: np.ndarray
    wrong: list[str]


def verify_lists(
    workspace: Workspace, folder: str, expected: np.ndarray, run_date: date, length: int
) -> Verified:
    """Check that a staged folder holds one whole list for each expected user, and nothing else.

    Args:
        folder: in the workspace, under recommendations/.
        expected: the ids of the users to be served, int64, in any order.
        length: the longest list allowed; a shorter one is fine where ranks go from 1 without a
            hole.

    Raises:
        PublishError: no file is there, a file is no Parquet or of another schema or night, users
            are missing, doubled
            or unknown, or ranks have holes. Names all that is wrong, with counts.
        WorkspaceError: a file cannot be read.
    """
    paths = workspace.parquet_files(folder)
    if not paths:
        raise PublishError(
            f"{workspace.uri}/{folder} holds no Parquet file: nothing was staged, run the job again"
        )
    users = np.unique(expected)
    seen = np.zeros(len(users) * length, dtype=bool)  # a place for each user and rank
    files, wrong, doubled, unknown = [], [], set(), set()
    for read in _reads(workspace, paths, run_date):
        files.append(read.file)
        wrong += read.wrong
        known = np.isin(read.user_ids, users)
        unknown |= set(read.user_ids[~known].tolist())
        wrong += _ranks_out_of_range(read, length)
        usable = known & (read.ranks >= 1) & (read.ranks <= length)
        places = (
            np.searchsorted(users, read.user_ids[usable]) * length
            + read.ranks[usable].astype(np.int64)
            - 1
        )
        doubled |= _doubled(places, seen, users, length)
        seen[places] = True
    wrong += _users_wrong(seen.reshape(len(users), length), users, doubled, unknown)
    if wrong:
        raise PublishError(
            f"{workspace.uri}/{folder} is not a whole night, and was not published:\n  "
            + "\n  ".join(wrong)
            + "\nLook into the failed tasks of the job, remove the folder, and run the job again."
        )
    return Verified(tuple(files), len(users), sum(file.rows for file in files))


def _reads(workspace: Workspace, paths: list[str], run_date: date) -> Iterator[_Read]:
    return map_in_threads(lambda path: _read(workspace, path, run_date), paths)


def _read(workspace: Workspace, path: str, run_date: date) -> _Read:
    name = workspace.name_of(path).removeprefix(f"{LISTS}/")
    with (
        translate_storage_errors(f"{workspace.uri}/{LISTS}/{name}"),
        workspace.filesystem.open_input_file(path) as source,
    ):
        digest = hashlib.sha256()
        while chunk := source.read(CHUNK):
            digest.update(chunk)
        size = source.tell()
        try:
            parquet = pq.ParquetFile(source)
            schema, rows = parquet.schema_arrow.remove_metadata(), parquet.metadata.num_rows
            columns = (
                parquet.read(["user_id", "rank", "run_date"]) if schema == RECOMMENDATIONS else None
            )
        except pa.ArrowInvalid as error:
            raise PublishError(
                f"{name} is not a whole Parquet file ({error}): remove it, and run the job again"
            ) from error
    file = PublishedFile(path=name, rows=rows, bytes=size, sha256=digest.hexdigest())
    if columns is None:
        return _Read(
            file, np.empty(0, np.int64), np.empty(0, np.int8), [f"{name}: {_difference(schema)}"]
        )
    return _Read(file, *_numbers(columns), _rows_wrong(columns, name, run_date))


def _numbers(columns: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    filled = columns.select(["user_id", "rank"]).drop_null()
    return filled["user_id"].to_numpy(), filled["rank"].to_numpy()


def _difference(schema: pa.Schema) -> str:
    for field in RECOMMENDATIONS:
        if field.name not in schema.names:
            return f"the column '{field.name}' ({field.type}) is missing; it has {schema.names}"
        if schema.field(field.name).type != field.type:
            return f"the column '{field.name}' is {schema.field(field.name).type}, expected {field.type}"
    return f"the columns are {schema.names}, expected {RECOMMENDATIONS.names}"


def _rows_wrong(columns: pa.Table, name: str, run_date: date) -> list[str]:
    wrong = [
        f"{name}: {columns[column].null_count:,} rows without a {column}"
        for column in ("user_id", "rank")
        if columns[column].null_count
    ]
    others = pc.sum(
        pc.fill_null(pc.not_equal(columns["run_date"], pa.scalar(run_date)), True)
    ).as_py()
    return (
        [*wrong, f"{name}: {others:,} rows of another night than {run_date}"] if others else wrong
    )


def _ranks_out_of_range(read: _Read, length: int) -> list[str]:
    outside = int(((read.ranks < 1) | (read.ranks > length)).sum())
    return (
        [f"{read.file.path}: {outside:,} rows with a rank outside 1 to {length}"] if outside else []
    )


def _doubled(places: np.ndarray, seen: np.ndarray, users: np.ndarray, length: int) -> set[int]:
    """Users with a rank that is twice in these places, or was seen before."""
    distinct, counts = np.unique(places, return_counts=True)
    return set(users[distinct[(counts > 1) | seen[distinct]] // length].tolist())


def _users_wrong(
    seen: np.ndarray, users: np.ndarray, doubled: set[int], unknown: set[int]
) -> list[str]:
    missing = users[~seen.any(axis=1)]
    holed = users[(seen[:, 1:] & ~seen[:, :-1]).any(axis=1)]
    found = [
        (missing.tolist(), "have no list"),
        (sorted(doubled), "have a rank twice"),
        (sorted(unknown), "were not to be served"),
        (holed.tolist(), "have a hole in their ranks"),
    ]
    return [
        f"{len(ids):,} users (of {len(users):,} expected) {what}: {', '.join(map(str, ids[:SHOWN]))}"
        + (", …" if len(ids) > SHOWN else "")
        for ids, what in found
        if ids
    ]
