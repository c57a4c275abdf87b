"""What `prepare` reads and keeps."""

from typing import Annotated

from pydantic import Field, model_validator

from dualrec.config.group import Count, Fraction, Group


class Columns(Group):
    """The names of the columns in a user's own interaction and item tables."""

    user_id: str = "user_id"
    item_id: str = "item_id"
    timestamp: str = "timestamp"
    rating: str | None = None  # None: every interaction counts as 1.0
    title: str = "title"
    year: str | None = None  # None: read from the end of the title, "Heat (1995)"
    genres: str | None = "genres"  # a list, or names joined by "|"


class DataSettings(Group):
    """What `prepare` reads and keeps."""

    source: str = (
        "ml-100k"  # a data set's name, or a folder, a zip, a table, or an s3:// URI of one
    )
    items: str | None = (
        None  # the item table, where `source` is a Parquet or CSV table of the user's own
    )
    columns: Columns = Columns()
    top_items: Annotated[int, Field(ge=0)] = (
        1000  # keep the most watched items of training users; 0 keeps all
    )
    train_fraction: Fraction = (
        0.70  # of users, by a seeded hash of the id, so that a user keeps its split
    )
    validation_fraction: Fraction = 0.15  # the rest are test users
    until: int | None = (
        None  # seconds since 1970: what happened then or later is left out; None keeps everything
    )
    shards: Count = 4  # Parquet files a table is written to
    block_mib: Count = 16  # raw bytes a reading task parses at a time
    seed: int = 0

    @model_validator(mode="after")
    def _fractions_leave_test_users(self) -> "DataSettings":
        if self.train_fraction + self.validation_fraction > 1:
            raise ValueError("train_fraction and validation_fraction together exceed 1")
        return self
