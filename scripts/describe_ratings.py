"""Print the statistics of data sets side by side, such as a made-up one beside the real one.

    python scripts/describe_ratings.py ml-1m ml-1m-made-up

Each is a folder in a shape of MovieLens, read whole: some 3 GB of memory for 32 million ratings.
"""

import argparse
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from rich.console import Console
from rich.table import Table
from synthetic import statistics

from dualrec.config.settings import load_settings
from dualrec.data.files import data_place
from dualrec.data.movielens import find_shape, read_movielens_items
from dualrec.data.text import parse_range


def read(folder: Path) -> tuple[pl.DataFrame, dict[int, frozenset[str]]]:
    """The ratings in the order of user, time and line, and the genres of each movie."""
    cache = load_settings().cache
    shape, ratings, items = find_shape(data_place(str(folder), cache))
    table: pa.Table = parse_range(shape.layout, Path(ratings.path).read_bytes(), 0)
    described = read_movielens_items(shape, items.here(cache))
    genres = zip(
        described.column("item_id").to_pylist(),
        map(frozenset, described.column("genres").to_pylist()),
        strict=True,
    )
    frame = pl.DataFrame(table).with_columns(pl.col("timestamp").cast(pl.Int64))
    return frame.sort("user_id", "timestamp", "line_offset"), dict(genres)


def describe(folder: Path) -> dict[str, float]:
    """Every statistic of one data set."""
    ratings, genres = read(folder)
    return {
        **statistics.activity(ratings),
        **statistics.popularity(ratings),
        **statistics.stars(ratings),
        **statistics.times(ratings),
        **statistics.sequence(ratings, genres, np.random.default_rng(0)),
    }


def main() -> None:
    """Describe and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+")
    folders = parser.parse_args().folders
    table = Table("", *(folder.name for folder in folders))
    columns = [describe(folder) for folder in folders]
    for name in columns[0]:
        table.add_row(name, *(_shown(column[name]) for column in columns))
    Console().print(table)


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 or value == int(value) else f"{value:.3f}"


if __name__ == "__main__":
    main()
