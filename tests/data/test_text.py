from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualrec.data.files import DataFile
from dualrec.data.movielens import SHAPES
from dualrec.data.text import LineError, byte_ranges, line_number, parse_range, read_range

DOUBLE_COLON = next(shape.layout for shape in SHAPES if shape.layout.separator == "::")


@given(
    lengths=st.lists(st.integers(min_value=1, max_value=40), min_size=1, max_size=30),
    block=st.integers(min_value=1, max_value=50),
    last_newline=st.booleans(),
)
def test_byte_ranges_give_every_line_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], block: int, last_newline: bool
) -> None:
    text = (
        "\n".join(str(number % 10) * length for number, length in enumerate(lengths))
        + "\n" * last_newline
    )
    path = tmp_path_factory.mktemp("ranges") / "file"
    path.write_text(text)
    pieces = [
        read_range(DataFile.local(path), *ends)[0] for ends in byte_ranges("f", len(text), block)
    ]
    assert b"".join(pieces).decode() == text


def test_double_colons_are_parsed_with_their_place() -> None:
    table = parse_range(DOUBLE_COLON, b"1::10::5::100\n2::20::3.5::200\n", 0)
    assert table.column("user_id").to_pylist() == [1, 2]
    assert table.column("rating").to_pylist() == [5.0, 3.5]
    assert table.column("line_offset").to_pylist() == [0, 1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"1::x::5::100", "item id should be int64, found 'x'"),
        (b"1::2::five::100", "rating should be float, found 'five'"),
        (b"1,2,5,100", "expected 4 fields .* separated by '::', found 1"),
        (b"1::2::5", "expected 4 fields"),
        (b"1::::5::100", "item id should be int64, found ''"),
    ],
)
def test_a_bad_line_is_named_with_its_field(line: bytes, said: str) -> None:
    with pytest.raises(LineError, match=said) as caught:
        parse_range(DOUBLE_COLON, b"1::1::5::1\n" + line + b"\n", 0)
    assert caught.value.line == 1


def test_lines_are_counted_from_an_offset(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a\nbb\nccc\n")
    assert [line_number(DataFile.local(path), offset) for offset in (0, 2, 5)] == [1, 2, 3]


def test_an_empty_block_gives_no_rows_of_the_right_types() -> None:
    table = parse_range(DOUBLE_COLON, b"", 10)
    assert len(table) == 0
    assert table.schema.field("user_id").type == pa.int64()
