"""Checks that a staged snapshot is whole. A folder of Parquet in; its files, rows and users out, or
an error that counts what is wrong.

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
USERS_NAMED = 5  # in an error, of each kind of fault


@dataclass(frozen=True)
class Verified:
    """A staged snapshot that is whole.

    Attributes:
        files: with paths in the recommendations folder.
        users, rows: how many.
    """

    files: tuple[PublishedFile, ...]
    users: int
    rows: int


class _FileContent(NamedTuple):
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
        PublishError: no file is there, a file is no Parquet or of another schema or run date,
            users are missing, doubled or unknown, or ranks have holes. Names every fault, with
            counts.
        WorkspaceError: a file cannot be read.
    """
    paths = workspace.parquet_files(folder)
    if not paths:
        raise PublishError(
            f"{workspace.uri}/{folder} holds no Parquet file: nothing was staged, run the job again"
        )
    users = np.unique(expected)
    seen = np.zeros(len(users) * length, dtype=bool)  # one entry for each user and rank
    files, wrong, doubled, unknown = [], [], set(), set()
    for read in _reads(workspace, paths, run_date):
        files.append(read.file)
        wrong += read.wrong
        known = np.isin(read.user_ids, users)
        unknown |= set(read.user_ids[~known].tolist())
        wrong += _ranks_out_of_range(read, length)
        usable = known & (read.ranks >= 1) & (read.ranks <= length)
        rows = np.searchsorted(users, read.user_ids[usable])
        entries = rows * length + read.ranks[usable].astype(np.int64) - 1
        doubled |= _doubled_users(entries, seen, users, length)
        seen[entries] = True
    wrong += _users_wrong(seen.reshape(len(users), length), users, doubled, unknown)
    if wrong:
        raise PublishError(
            f"{workspace.uri}/{folder} is not a whole snapshot, and was not published:\n  "
            + "\n  ".join(wrong)
            + "\nLook into the failed tasks of the job, remove the folder, and run the job again."
        )
    return Verified(tuple(files), len(users), sum(file.rows for file in files))


def _reads(workspace: Workspace, paths: list[str], run_date: date) -> Iterator[_FileContent]:
    return map_in_threads(lambda path: _read(workspace, path, run_date), paths)


def _read(workspace: Workspace, path: str, run_date: date) -> _FileContent:
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
            columns = None
            if schema == RECOMMENDATIONS:
                columns = parquet.read(["user_id", "rank", "run_date"])
        except pa.ArrowInvalid as error:
            raise PublishError(
                f"{name} is not a whole Parquet file ({error}): remove it, and run the job again"
            ) from error
    file = PublishedFile(path=name, rows=rows, bytes=size, sha256=digest.hexdigest())
    if columns is None:
        return _FileContent(
            file, np.empty(0, np.int64), np.empty(0, np.int8), [f"{name}: {_difference(schema)}"]
        )
    return _FileContent(file, *_numbers(columns), _rows_wrong(columns, name, run_date))


def _numbers(columns: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    filled = columns.select(["user_id", "rank"]).drop_null()
    return filled["user_id"].to_numpy(), filled["rank"].to_numpy()


def _difference(schema: pa.Schema) -> str:
    for field in RECOMMENDATIONS:
        if field.name not in schema.names:
            return f"the column '{field.name}' ({field.type}) is missing; it has {schema.names}"
        if schema.field(field.name).type != field.type:
            actual = schema.field(field.name).type
            return f"the column '{field.name}' is {actual}, expected {field.type}"
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
    if others:
        wrong.append(f"{name}: {others:,} rows of another run date than {run_date}")
    return wrong


def _ranks_out_of_range(read: _FileContent, length: int) -> list[str]:
    outside = int(((read.ranks < 1) | (read.ranks > length)).sum())
    if not outside:
        return []
    return [f"{read.file.path}: {outside:,} rows with a rank outside 1 to {length}"]


def _doubled_users(
    entries: np.ndarray, seen: np.ndarray, users: np.ndarray, length: int
) -> set[int]:
    """Return the users with a rank that is twice among these entries, or was seen before."""
    distinct, counts = np.unique(entries, return_counts=True)
    return set(users[distinct[(counts > 1) | seen[distinct]] // length].tolist())


def _users_wrong(
    seen: np.ndarray, users: np.ndarray, doubled: set[int], unknown: set[int]
) -> list[str]:
    missing = users[~seen.any(axis=1)]
    holed = users[(seen[:, 1:] & ~seen[:, :-1]).any(axis=1)]
    faults = [
        (missing.tolist(), "have no list"),
        (sorted(doubled), "have a rank twice"),
        (sorted(unknown), "were not to be served"),
        (holed.tolist(), "have a hole in their ranks"),
    ]
    wrong = []
    for ids, fault in faults:
        if ids:
            named = ", ".join(map(str, ids[:USERS_NAMED])) + (
                ", …" if len(ids) > USERS_NAMED else ""
            )
            wrong.append(f"{len(ids):,} users (of {len(users):,} expected) {fault}: {named}")
    return wrong
