"""The published shapes of MovieLens: where a folder holds what, and its item files.

Three shapes: 100K (`u.data`, `u.item`, or the typed, tab-separated `.inter` and `.item`), 1M and
10M (`::`), and CSV (latest-small, 20M, 25M, 32M). README files of the data sets:
grouplens.org/datasets/movielens.
"""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pyarrow as pa

from dualrec.data.files import DataFile, DataPlace
from dualrec.data.text import TextLayout
from dualrec.data.titles import year_of
from dualrec.errors import InputError

GENRES = (
    "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
_SPELLINGS = {"Children": "Children's", "Childrens": "Children's", "IMAX": "IMAX"}
_NONE = {"unknown", "(no genres listed)", ""}


@dataclass(frozen=True)
class Item:
    """One line of an item file."""

    item_id: int
    title: str
    genres: list[str]


@dataclass(frozen=True)
class Shape:
    """One published shape: its rating files' layout, and how to read its item file."""

    ratings: str  # file name, or a pattern
    items: str
    layout: TextLayout
    read_items: Callable[[Path], Iterator[Item]]


def find_shape(folder: DataPlace) -> tuple[Shape, DataFile, DataFile]:
    """Return the shape of a folder and its rating and item files.

    Raises:
        InputError: no shape is there, or one of its two files is missing.
    """
    for shape in SHAPES:
        ratings, items = (
            [file for file in folder.files if fnmatch(file.last_name, pattern)]
            for pattern in (shape.ratings, shape.items)
        )
        if ratings and items:
            return shape, ratings[0], items[0]
        if ratings or items:
            there, missing = (ratings[0], shape.items) if ratings else (items[0], shape.ratings)
            raise InputError(
                f"{folder.name} holds {there.last_name} but no {missing}: the data set is not complete"
            )
    names = ", ".join(f"{shape.ratings} and {shape.items}" for shape in SHAPES)
    raise InputError(
        f"{folder.name} is no MovieLens folder: expected {names}. For a table of your own, name the Parquet or CSV file "
        "itself in data.source, its item table in data.items, and its columns in data.columns"
    )


def read_movielens_items(shape: Shape, path: Path) -> pa.Table:
    """Read an item file into the columns item_id, title, year and genres, in file order.

    Raises:
        InputError: a line cannot be read, an id comes twice, or a genre is unknown; names file and
            line.
    """
    seen: dict[int, int] = {}
    rows: dict[str, list[object]] = {"item_id": [], "title": [], "year": [], "genres": []}
    for number, item in enumerate(shape.read_items(path), start=1):
        if item.item_id in seen:
            raise InputError(
                f"{path}: item {item.item_id} is described twice, as entries {seen[item.item_id]} and {number}"
            )
        seen[item.item_id] = number
        rows["item_id"].append(item.item_id)
        rows["title"].append(item.title)
        rows["year"].append(year_of(item.title))
        rows["genres"].append(item.genres)
    return pa.table(
        [
            pa.array(rows["item_id"], pa.int64()),
            pa.array(rows["title"], pa.string()),
            pa.array(rows["year"], pa.int16()),
            pa.array(rows["genres"], pa.list_(pa.string())),
        ],
        names=list(rows),
    )


def _genres(names: list[str], where: str) -> list[str]:
    found = []
    for name in names:
        name = _SPELLINGS.get(name, name)
        if name in _NONE:
            continue
        if name not in GENRES and name != "IMAX":
            raise InputError(
                f"{where}: unknown genre {name!r}; expected some of {', '.join(GENRES)}. For genres of your own, "
                "give the items as a table in data.items"
            )
        found.append(name)
    return found


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines of a file with their place, for messages. 100K and 1M are Latin-1, the later sets
    UTF-8."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"{path}, line {number}", line.rstrip("\r")


def _fields(where: str, line: str, separator: str, count: int) -> list[str]:
    fields = line.split(separator)
    if len(fields) != count:
        raise InputError(
            f"{where}: expected {count} fields separated by {separator!r}, found {len(fields)}: {line[:100]!r}"
        )
    return fields


def _item_id(where: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(f"{where}: the item id should be a whole number, found {text!r}") from None


def _read_u_item(path: Path) -> Iterator[Item]:
    flags = ("unknown", *GENRES)
    for where, line in _lines(path):
        fields = _fields(where, line, "|", 5 + len(flags))
        names = [name for name, flag in zip(flags, fields[5:], strict=True) if flag == "1"]
        yield Item(_item_id(where, fields[0]), fields[1].strip(), _genres(names, where))


def _read_typed_item(path: Path) -> Iterator[Item]:
    lines = _lines(path)
    where, header = next(lines, (f"{path}, line 1", ""))
    expected = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq"
    if header != expected:
        raise InputError(f"{where}: expected the header {expected!r}, found {header[:120]!r}")
    for where, line in lines:
        item_id, title, year, genres = _fields(where, line, "\t", 4)
        published = f"{title} ({year})" if year.isdigit() else title
        yield Item(_item_id(where, item_id), published, _genres(genres.split(" "), where))


def _read_double_colon(path: Path) -> Iterator[Item]:
    for where, line in _lines(path):
        item_id, title, genres = _fields(where, line, "::", 3)
        yield Item(_item_id(where, item_id), title.strip(), _genres(genres.split("|"), where))


def _read_csv(path: Path) -> Iterator[Item]:
    lines = list(_lines(path))
    rows = csv.reader(line for _, line in lines)
    header = next(rows, [])
    if header != ["movieId", "title", "genres"]:
        raise InputError(
            f"{path}, line 1: expected the header 'movieId,title,genres', found {','.join(header)[:120]!r}"
        )
    for row in rows:
        where = lines[min(rows.line_num, len(lines)) - 1][0]
        if len(row) != 3:
            raise InputError(
                f"{where}: expected 3 fields separated by ',', found {len(row)}: {','.join(row)[:100]!r}"
            )
        yield Item(_item_id(where, row[0]), row[1].strip(), _genres(row[2].split("|"), where))


def _layout(separator: str, names: tuple[str, str, str, str], header: bool) -> TextLayout:
    user, item, rating, timestamp = names
    wanted = (
        ("user_id", user, pa.int64()),
        ("item_id", item, pa.int64()),
        ("rating", rating, pa.float32()),
        ("timestamp", timestamp, pa.float64()),
    )
    return TextLayout(separator, names, header, wanted)


_PLAIN = ("user id", "item id", "rating", "timestamp")
SHAPES = (
    Shape("u.data", "u.item", _layout("\t", _PLAIN, header=False), _read_u_item),
    Shape(
        "*.inter",
        "*.item",
        _layout(
            "\t", ("user_id:token", "item_id:token", "rating:float", "timestamp:float"), header=True
        ),
        _read_typed_item,
    ),
    Shape("ratings.dat", "movies.dat", _layout("::", _PLAIN, header=False), _read_double_colon),
    Shape(
        "ratings.csv",
        "movies.csv",
        _layout(",", ("userId", "movieId", "rating", "timestamp"), header=True),
        _read_csv,
    ),
)
