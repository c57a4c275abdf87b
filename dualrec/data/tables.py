"""Users' own tables: interactions and items in Parquet or CSV, with columns of any name. Knows no
MovieLens."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from dualrec.config.settings import Columns
from dualrec.data.files import DataFile
from dualrec.data.text import TextLayout
from dualrec.data.titles import year_of
from dualrec.errors import InputError


def interaction_columns(file: DataFile, columns: Columns) -> list[tuple[str, str, pa.DataType]]:
    """Our name, the table's name and the type of each column of interactions.

    Raises:
        InputError: the table lacks a column; names those it has.
    """
    wanted = [
        ("user_id", columns.user_id, pa.int64()),
        ("item_id", columns.item_id, pa.int64()),
        ("timestamp", columns.timestamp, pa.float64()),
    ]
    if columns.rating is not None:
        wanted.append(("rating", columns.rating, pa.float32()))
    _require_columns(file, {ours: theirs for ours, theirs, _ in wanted})
    return wanted


def column_names(file: DataFile) -> list[str]:
    """The columns of a Parquet or CSV file.

    Raises:
        InputError: the file is neither, or cannot be read.
    """
    with _whole(file) as stream:
        if file.suffix == ".parquet":
            return list(pq.read_schema(stream).names)
        if file.suffix == ".csv":
            return list(pacsv.open_csv(stream).schema.names)
    raise InputError(f"{file}: expected a .parquet or .csv file, or a MovieLens folder")


def csv_layout(file: DataFile, columns: Columns) -> TextLayout:
    """The layout of a CSV table of interactions with a header."""
    return TextLayout(
        ",", tuple(column_names(file)), True, tuple(interaction_columns(file, columns))
    )


def row_groups(file: DataFile) -> int:
    """How many row groups a Parquet file has.

    Raises:
        InputError: it cannot be read.
    """
    with _whole(file) as stream:
        return int(pq.ParquetFile(stream).num_row_groups)


def read_row_group(file: DataFile, columns: Columns, group: int) -> pa.Table:
    """Read one row group of a Parquet table of interactions, with `line_offset`, the place of each
    row in the file.

    Raises:
        InputError: a column is missing, holds nulls, or cannot be cast; names file, row and column.
    """
    wanted = interaction_columns(file, columns)
    with _whole(file, f", row group {group}") as stream:
        parquet = pq.ParquetFile(stream)
        first = sum(parquet.metadata.row_group(earlier).num_rows for earlier in range(group))
        table = parquet.read_row_group(group, columns=[theirs for _, theirs, _ in wanted])
    arrays = [
        _cast(table.column(theirs), kind, f"{file}, column '{theirs}'", first)
        for _, theirs, kind in wanted
    ]
    result = pa.table(arrays, names=[ours for ours, _, _ in wanted])
    return result.append_column("line_offset", pa.array(np.arange(first, first + len(result))))


def read_item_table(path: Path, columns: Columns) -> pa.Table:
    """Read a user's own item table into the columns item_id, title, year and genres.

    Raises:
        InputError: a column is missing or of a kind that is not read, a value cannot be cast, or an
            id comes twice.
    """
    _require_columns(DataFile.local(path), {"item_id": columns.item_id, "title": columns.title})
    table = pq.read_table(path) if path.suffix == ".parquet" else pacsv.read_csv(path)
    ids = _cast(table.column(columns.item_id), pa.int64(), f"{path}, column '{columns.item_id}'", 0)
    titles = _cast(table.column(columns.title), pa.string(), f"{path}, column '{columns.title}'", 0)
    _check_unique(ids.to_pylist(), path)
    return pa.table(
        {
            "item_id": ids,
            "title": titles,
            "year": pa.array(_years(table, columns, titles, path), pa.int16()),
            "genres": pa.array(_genre_lists(table, columns, path), pa.list_(pa.string())),
        }
    )


@contextmanager
def _whole(file: DataFile, part: str = "") -> Iterator[pa.NativeFile]:
    """The file, to be read in the block; what Arrow cannot make sense of is told as the file's
    fault."""
    try:
        with file.reading() as stream:
            yield stream
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{file}{part} cannot be read: {error}") from error


def _require_columns(file: DataFile, named: dict[str, str]) -> None:
    there = column_names(file)
    for ours, theirs in named.items():
        if theirs not in there:
            raise InputError(
                f"{file}: there is no column '{theirs}' among {there}; name yours with --set data.columns.{ours}=NAME"
            )


def _cast(
    column: pa.ChunkedArray, kind: pa.DataType, where: str, first_row: int
) -> pa.ChunkedArray:
    if column.null_count:
        row = column.is_null().index(True).as_py() + first_row + 1
        raise InputError(f"{where}, row {row}: is empty; expected {kind}")
    try:
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us")).cast(pa.int64()).cast(pa.float64())
            return pa.chunked_array([pa.compute.divide(column, 1e6)])
        return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"{where}: expected {kind}: {error}") from error


def _check_unique(ids: list[int], path: Path) -> None:
    seen: set[int] = set()
    for row, item_id in enumerate(ids, start=1):
        if item_id in seen:
            raise InputError(f"{path}, row {row}: item {item_id} is described twice")
        seen.add(item_id)


def _values(table: pa.Table, name: str, path: Path) -> list[Any]:
    """The values of a column as Python's. Ray's column of pickled objects, among others, is not
    read: that runs code."""
    column = table.column(name)
    if _is_extended(column.type):
        raise InputError(
            f"{path}: the column '{name}' is of the type {column.type}, which is not read; make it plain"
        )
    return column.to_pylist()


def _is_extended(kind: pa.DataType) -> bool:
    """Whether a type, or one within it, has its values made by code that somebody registered with
    Arrow."""
    if isinstance(kind, pa.BaseExtensionType):
        return True
    within = [kind.value_type] if pa.types.is_dictionary(kind) else []
    within += [kind.field(place).type for place in range(kind.num_fields)]
    return any(map(_is_extended, within))


def _years(
    table: pa.Table, columns: Columns, titles: pa.ChunkedArray, path: Path
) -> list[int | None]:
    if columns.year is None:
        return [year_of(title) for title in titles.to_pylist()]
    if columns.year not in table.column_names:
        raise InputError(
            f"the item table has no column '{columns.year}'; name yours with --set data.columns.year=NAME"
        )
    return [None if year is None else int(year) for year in _values(table, columns.year, path)]


def _genre_lists(table: pa.Table, columns: Columns, path: Path) -> list[list[str]]:
    if columns.genres is None or columns.genres not in table.column_names:
        return [[] for _ in range(len(table))]
    return [_genres_of(value) for value in _values(table, columns.genres, path)]


def _genres_of(value: object) -> list[str]:
    if value is None:
        return []
    names = (
        value.split("|")
        if isinstance(value, str)
        else list(value)
        if isinstance(value, list)
        else []
    )
    return [
        str(name).strip() for name in names if str(name).strip() and name != "(no genres listed)"
    ]
