"""Interactions as a Ray dataset, read from any accepted source in parallel pieces of bounded size."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa
import ray
import ray.data

from dualrec.config.settings import DataSettings
from dualrec.data import movielens, tables, text
from dualrec.data.files import DataFile, DataPlace, within_reach
from dualrec.errors import InputError
from dualrec.storage.filesystems import map_in_threads
from dualrec.storage.schemas import INTERACTIONS, conform
from dualrec.storage.workspace import Workspace

MOST_NAMED = 5  # files that cannot be read, in one error


@dataclass(frozen=True)
class Source:
    """A place that holds interactions and items, recognised but not yet read.

    Attributes:
        interactions: the files of interactions, in the order that breaks ties.
        items: item_id, title, year and genres of every item described, in file order.
        layout: how the text files are written; None for Parquet.
    """

    interactions: tuple[DataFile, ...]
    items: pa.Table
    layout: text.TextLayout | None


def open_source(
    place: DataPlace, items: DataPlace | None, settings: DataSettings, cache: str
) -> Source:
    """Recognise what lies at `place`, a MovieLens folder or a table of the user's own, and read its
    items.

    Raises:
        InputError: nothing is there that can be read, or the item file is faulty.
        AssetError: the item file cannot be brought here.
    """
    if place.is_folder and items is None:
        shape, ratings, item_file = movielens.find_shape(place)
        if shape.layout.header:
            text.check_header(ratings, shape.layout)
        return Source(
            (ratings,), movielens.read_movielens_items(shape, item_file.here(cache)), shape.layout
        )
    if items is None:
        raise InputError(
            f"{place.name} is a table of interactions: name the table of its items with --set data.items=FILE"
        )
    if items.is_folder:
        raise InputError(
            f"{items.name} is a folder: data.items should be a single .parquet or .csv file"
        )
    files = _of_one_kind(place)
    layout = tables.csv_layout(files[0], settings.columns) if files[0].suffix == ".csv" else None
    tables.interaction_columns(files[0], settings.columns)
    return Source(
        files, tables.read_item_table(items.files[0].here(cache), settings.columns), layout
    )


def _of_one_kind(place: DataPlace) -> tuple[DataFile, ...]:
    for ending in (".parquet", ".csv"):
        files = tuple(file for file in place.files if file.suffix == ending)
        if files:
            return files
    raise InputError(f"{place.name} holds no .parquet and no .csv file")


@contextmanager
def readable(source: Source, workspace: Workspace) -> Iterator[Source]:
    """Yield the source where every node can read it, until the block is left.

    Raises:
        WorkspaceError: the store failed.
    """
    with within_reach(source.interactions, workspace) as files:
        yield replace(source, interactions=files)


def read_interactions(source: Source, settings: DataSettings) -> ray.data.Dataset:
    """A dataset of schema INTERACTIONS, one block a piece of file. Nothing is read before it is
    consumed.

    Raises:
        InputError: a file is empty or corrupt; when consumed, also a line that cannot be read or an
            item that is not
            described.
    """
    pieces = _pieces_of_files(source, settings)
    known = ray.put(np.unique(source.items.column("item_id").to_numpy()))
    read = partial(
        _read_piece, files=source.interactions, layout=source.layout, settings=settings, known=known
    )
    dataset = ray.data.from_items(pieces, override_num_blocks=len(pieces))
    return dataset.map_batches(read, batch_format="pyarrow", batch_size=1)


def _pieces_of_files(source: Source, settings: DataSettings) -> list[dict[str, int]]:
    """Return number of the file, start and end of each piece, in row groups or bytes.

    Raises:
        InputError: files are empty or their ends cannot be read; names up to MOST_NAMED of them.
    """

    def cut(number: int) -> list[dict[str, int]] | InputError:
        try:
            ends = _ends(source.interactions[number], source.layout, settings.block_mib << 20)
        except InputError as error:
            return error
        return [{"file": number, "start": start, "end": end} for start, end in ends]

    pieces, errors = [], []
    for pieces_or_error in map_in_threads(cut, range(len(source.interactions))):
        if isinstance(pieces_or_error, InputError):
            errors.append(str(pieces_or_error))
        else:
            pieces += pieces_or_error
    if errors:
        more = f"\nand {len(errors) - MOST_NAMED} more files" if len(errors) > MOST_NAMED else ""
        raise InputError("\n".join(errors[:MOST_NAMED]) + more)
    return pieces


def _ends(
    file: DataFile, layout: text.TextLayout | None, block_bytes: int
) -> list[tuple[int, int]]:
    if layout is None:
        return [(group, group + 1) for group in range(tables.row_groups(file))]
    return text.byte_ranges(str(file), file.size(), block_bytes)


def _read_piece(
    piece: pa.Table,
    files: tuple[DataFile, ...],
    layout: text.TextLayout | None,
    settings: DataSettings,
    known: "ray.ObjectRef[np.ndarray]",
) -> pa.Table:
    (row,) = piece.to_pylist()
    file, start = files[row["file"]], row["start"]
    if layout is None:
        table = tables.read_row_group(file, settings.columns, start)
    else:
        table = _read_text(file, layout, start, row["end"])
    if "rating" not in table.column_names:
        table = table.append_column("rating", pa.array(np.ones(len(table), np.float32)))
    timestamps = np.floor(table.column("timestamp").to_numpy()).astype(np.int64)
    table = table.set_column(
        table.column_names.index("timestamp"), "timestamp", pa.array(timestamps)
    )
    position = pa.array(table.column("line_offset").to_numpy() + row["file"] * text.FILE_STRIDE)
    table = conform(table.append_column("position", position), INTERACTIONS, str(file))
    _check_described(table, ray.get(known), file, layout, start)
    return table


def _read_text(file: DataFile, layout: text.TextLayout, start: int, end: int) -> pa.Table:
    data, offset = text.read_range(file, start, end)
    try:
        return text.parse_range(layout, data, offset)
    except text.LineError as error:
        line = text.line_number(file, offset) + error.line
        raise InputError(f"{file}, line {line}: {error.problem}") from error


def _check_described(
    table: pa.Table, known: np.ndarray, file: DataFile, layout: text.TextLayout | None, start: int
) -> None:
    item_ids = table.column("item_id").to_numpy()
    row = int(np.argmin(np.isin(item_ids, known))) if len(table) else 0
    if not len(table) or item_ids[row] in known:
        return
    place = f"row {row + 1} of row group {start}"
    if layout is not None:
        _, offset = text.read_range(file, start, start + 1)
        line = text.line_number(file, offset) + text.lines_before(layout, offset) + row
        place = f"line {line}"
    raise InputError(
        f"{file}, {place}: item {item_ids[row]} is described nowhere in the item file; add it there, or leave out its "
        "interactions"
    )
