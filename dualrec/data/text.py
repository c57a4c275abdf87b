"""Delimited text files of any size, read in byte ranges. Knows lines and columns, not what they
mean.

A range owns the lines that begin in it, so that ranges read in parallel give every line once.
"""

import io
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from dualrec.data.files import DataFile
from dualrec.errors import InputError

FILE_STRIDE = 1 << 44  # positions of one file: 16 TiB of text


class LineError(Exception):
    """A line that does not fit its layout: `line` counts from 0 at the start of the block that was
    parsed."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line
        self.problem = problem


@dataclass(frozen=True)
class TextLayout:
    """How a text file of interactions is written.

    Attributes:
        separator: between the columns; "::" is allowed.
        columns: the names of all columns in order; where the file has a header, they are what it
            must say.
        header: whether the first line names the columns.
        wanted: our name of a column to (its name in the file, its Arrow type).
    """

    separator: str
    columns: tuple[str, ...]
    header: bool
    wanted: tuple[tuple[str, str, pa.DataType], ...]


def byte_ranges(path: str, size: int, block_bytes: int) -> list[tuple[int, int]]:
    """Cut a file of `size` bytes into ranges of about `block_bytes`.

    Raises:
        InputError: the file is empty.
    """
    if size == 0:
        raise InputError(f"{path} is empty: expected one interaction a line")
    return [(start, min(start + block_bytes, size)) for start in range(0, size, block_bytes)]


def read_range(file: DataFile, start: int, end: int) -> tuple[bytes, int]:
    """Return the whole lines that begin in [start, end), and the offset of the first of them."""
    with file.reading() as stream:
        size = stream.size()
        first = 0 if start == 0 else _next_line(stream, start - 1, size)
        last = size if end >= size else _next_line(stream, end - 1, size)
        stream.seek(first)
        return stream.read(max(last - first, 0)), first


def parse_range(layout: TextLayout, data: bytes, offset: int) -> pa.Table:
    """Parse whole lines into the wanted columns, and `line_offset`, the place of each row for
    ordering.

    Raises:
        LineError: a line has another number of columns, or a value of another type.
    """
    skip = lines_before(layout, offset)
    if not data.strip():
        return _empty(layout)
    separator = layout.separator
    if len(separator) > 1:
        data_of_one_byte, separator = data.replace(separator.encode(), b"\t"), "\t"
    else:
        data_of_one_byte = data
    try:
        table = pacsv.read_csv(
            io.BytesIO(data_of_one_byte),
            read_options=pacsv.ReadOptions(
                column_names=layout.columns, skip_rows=skip, use_threads=False
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=separator, quote_char='"' if separator == "," else False
            ),
            convert_options=pacsv.ConvertOptions(
                column_types={theirs: kind for _, theirs, kind in layout.wanted},
                include_columns=[theirs for _, theirs, _ in layout.wanted],
                null_values=[],
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise _first_bad_line(layout, data, skip, error) from error
    table = table.rename_columns([ours for ours, _, _ in layout.wanted])
    return table.append_column("line_offset", pa.array(np.arange(offset, offset + len(table))))


def line_number(file: DataFile, offset: int) -> int:
    """The number, from 1, of the line that begins at a byte offset. Reads all before it: for error
    messages."""
    with file.reading() as stream:
        lines, left = 1, offset
        while left > 0 and (block := stream.read(min(left, 1 << 22))):
            lines += block.count(b"\n")
            left -= len(block)
    return lines


def lines_before(layout: TextLayout, offset: int) -> int:
    """How many lines a block that begins at `offset` holds before its first row: 1 for the header,
    else 0."""
    return 1 if layout.header and offset == 0 else 0


def check_header(file: DataFile, layout: TextLayout) -> None:
    """Raise an InputError unless the first line of a file names the columns of its layout."""
    with file.reading() as stream:
        first = stream.read(1 << 16).split(b"\n", 1)[0].decode("utf-8-sig", "replace").strip()
    found = tuple(name.strip('"') for name in first.split(layout.separator))
    if found != layout.columns:
        expected = layout.separator.join(layout.columns)
        raise InputError(f"{file}, line 1: expected the header {expected!r}, found {first[:120]!r}")


def _next_line(stream: pa.NativeFile, offset: int, size: int) -> int:
    stream.seek(offset)
    while offset < size:
        block = stream.read(1 << 16)
        place = block.find(b"\n")
        if place >= 0:
            return offset + place + 1
        offset += len(block)
    return size


def _first_bad_line(layout: TextLayout, data: bytes, skip: int, error: Exception) -> LineError:
    for number, raw in enumerate(data.split(b"\n")):
        line = raw.decode("utf-8", "replace").rstrip("\r")
        if number < skip or not line:
            continue
        fields = line.split(layout.separator)
        if len(fields) != len(layout.columns):
            names = ", ".join(layout.columns)
            problem = (
                f"expected {len(layout.columns)} fields ({names}) separated by {layout.separator!r}"
            )
            return LineError(number, f"{problem}, found {len(fields)} in {line[:100]!r}")
        for _, theirs, kind in layout.wanted:
            text = fields[layout.columns.index(theirs)].strip('"')
            if not _fits(text, kind):
                return LineError(number, f"{theirs} should be {kind}, found {text!r}")
    return LineError(0, str(error))


def _fits(text: str, kind: pa.DataType) -> bool:
    try:
        if pa.types.is_integer(kind):
            int(text)
        else:
            float(text)
    except ValueError:
        return False
    return True


def _empty(layout: TextLayout) -> pa.Table:
    fields = [(ours, kind) for ours, _, kind in layout.wanted]
    return pa.schema([*fields, ("line_offset", pa.int64())]).empty_table()
