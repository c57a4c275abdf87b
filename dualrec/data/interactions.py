"""Interactions as a Ray dataset, read from any accepted source in parallel pieces of bounded size."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import ray
import ray.data

from dualrec.data import movielens, tables, text
from dualrec.errors import InputError
from dualrec.schemas import INTERACTIONS, conform
from dualrec.settings import DataSettings


@dataclass(frozen=True)
class Source:
    """A place that holds interactions and items, recognised but not yet read.

    Attributes:
        interactions: the files of interactions, in the order that breaks ties.
        items: item_id, title, year and genres of every item described, in file order.
        layout: how the text files are written; None for Parquet.
    """

    interactions: tuple[Path, ...]
    items: pa.Table
    layout: text.TextLayout | None


def open_source(place: Path, settings: DataSettings, items: Path | None) -> Source:
    """Recognise what lies at `place`, a MovieLens folder or a table of the user's own, and read its items.

    Raises:
        InputError: nothing is there that can be read, or the item file is faulty.
    """
    if not place.exists():
        raise InputError(f"{place} does not exist: data.source should name a data set, a folder, a zip or a table")
    if place.is_dir() and items is None:
        shape, ratings, item_file = movielens.find_shape(place)
        if shape.layout.header:
            text.check_header(pafs.LocalFileSystem(), str(ratings), shape.layout)
        return Source((ratings,), movielens.read_item_table(shape, item_file), shape.layout)
    if items is None:
        raise InputError(f"{place} is a table of interactions: name the table of its items with --set data.items=FILE")
    files = tuple(sorted(place.glob("*.parquet")) or sorted(place.glob("*.csv"))) if place.is_dir() else (place,)
    if not files:
        raise InputError(f"{place} holds no .parquet and no .csv file")
    layout = tables.csv_layout(files[0], settings.columns) if files[0].suffix == ".csv" else None
    tables.interaction_columns(files[0], settings.columns)
    return Source(files, tables.read_item_table(items, settings.columns), layout)


def read_interactions(source: Source, settings: DataSettings) -> ray.data.Dataset:
    """A dataset of schema INTERACTIONS, one block a piece of file. Nothing is read before it is consumed.

    Raises:
        InputError: a file is empty; when consumed, also a line that cannot be read or an item that is not described.
    """
    known = ray.put(np.unique(source.items.column("item_id").to_numpy()))
    pieces = [
        {"file": number, "path": str(path), "start": start, "end": end}
        for number, path in enumerate(source.interactions)
        for start, end in _pieces(path, source.layout, settings.block_mib << 20)
    ]
    read = partial(_read_piece, layout=source.layout, settings=settings, known=known)
    return ray.data.from_items(pieces, override_num_blocks=len(pieces)).map_batches(
        read, batch_format="pyarrow", batch_size=1
    )


def _pieces(path: Path, layout: text.TextLayout | None, block_bytes: int) -> list[tuple[int, int]]:
    if layout is None:
        return [(group, group + 1) for group in range(pq.ParquetFile(path).num_row_groups)]
    return text.byte_ranges(str(path), path.stat().st_size, block_bytes)


def _read_piece(
    piece: pa.Table, layout: text.TextLayout | None, settings: DataSettings, known: "ray.ObjectRef[np.ndarray]"
) -> pa.Table:
    row = piece.to_pylist()[0]
    path, start, end = Path(row["path"]), row["start"], row["end"]
    if layout is None:
        table = tables.read_row_group(path, settings.columns, start)
    else:
        table = _read_text(path, layout, start, end)
    if "rating" not in table.column_names:
        table = table.append_column("rating", pa.array(np.ones(len(table), np.float32)))
    timestamps = np.floor(table.column("timestamp").to_numpy()).astype(np.int64)
    table = table.set_column(table.column_names.index("timestamp"), "timestamp", pa.array(timestamps))
    position = pa.array(table.column("line_offset").to_numpy() + row["file"] * text.FILE_STRIDE)
    table = conform(table.append_column("position", position), INTERACTIONS, str(path))
    _check_described(table, ray.get(known), path, layout, start)
    return table


def _read_text(path: Path, layout: text.TextLayout, start: int, end: int) -> pa.Table:
    filesystem = pafs.LocalFileSystem()
    data, offset = text.read_range(filesystem, str(path), start, end)
    try:
        return text.parse_range(layout, data, offset)
    except text.LineError as error:
        line = text.line_number(filesystem, str(path), offset) + error.line
        raise InputError(f"{path}, line {line}: {error.problem}") from error


def _check_described(
    table: pa.Table, known: np.ndarray, path: Path, layout: text.TextLayout | None, start: int
) -> None:
    item_ids = table.column("item_id").to_numpy()
    row = int(np.argmin(np.isin(item_ids, known))) if len(table) else 0
    if not len(table) or item_ids[row] in known:
        return
    place = f"row {row + 1} of row group {start}"
    if layout is not None:
        filesystem = pafs.LocalFileSystem()
        _, offset = text.read_range(filesystem, str(path), start, start + 1)
        line = text.line_number(filesystem, str(path), offset) + text.lines_before(layout, offset) + row
        place = f"line {line}"
    raise InputError(
        f"{path}, {place}: item {item_ids[row]} is described nowhere in the item file; add it there, or leave out its "
        "interactions"
    )
