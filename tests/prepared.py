"""What `prepare` writes, by construction and without Ray, for tests of what is found out before Ray
is started."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from dualrec.config.settings import Settings
from dualrec.data.prepare import METHOD, Prepared, data_settings_version, prepared
from dualrec.data.splits import SPLITS
from dualrec.errors import DualrecError
from dualrec.storage.schemas import CATALOG
from dualrec.storage.workspace import Workspace
from tests.conftest import histories_table, numbered_movies

ITEMS = 40
VERSION = "0123456789ab"


def write_prepared(settings: Settings, lengths: dict[str, list[int]]) -> Prepared:
    """Write a catalog of forty movies, and for each split users with histories of these lengths,
    two in each file."""
    workspace = Workspace(settings.workspace)
    titles = {item: title for item, (title, _) in numbered_movies(ITEMS).items()}
    items = [
        {"item_id": item, "title": title, "year": None, "genres": ["Drama"], "popularity": 1}
        for item, title in titles.items()
    ]
    users = {split: len(lengths.get(split, [])) for split in SPLITS}
    described = {
        "dataset": "constructed",
        "data_settings": data_settings_version(settings),
        "users": users,
    }
    described |= {"settings": settings.data.model_dump(mode="json"), "method": METHOD}
    with workspace.writing(f"catalog/{VERSION}", described) as folder:
        workspace.write_table(
            pa.Table.from_pylist(items, schema=CATALOG), f"{folder}/part-0.parquet"
        )
    with workspace.writing(f"histories/{VERSION}", described) as folder:
        for number, split in enumerate(SPLITS):
            workspace.filesystem.create_dir(f"{folder}/split={split}")
            histories = {
                1000 * number + user: [(user + step) % ITEMS + 1 for step in range(length)]
                for user, length in enumerate(lengths.get(split, []))
            }
            table = histories_table(histories, split)
            for start in range(0, len(table), 2):
                workspace.write_table(
                    table.slice(start, 2), f"{folder}/split={split}/part-{start}.parquet"
                )
    return prepared(workspace, settings)


def write_empty(settings: Settings, *names: str) -> None:
    """Write artifacts that hold nothing but what says that they are there."""
    for name in names:
        with Workspace(settings.workspace).writing(name, {}):
            pass


def assert_refused(
    job: Callable[[Settings], Any], settings: Settings, error: type[DualrecError], said: str
) -> None:
    """Run a job that raises an error of this kind, whose message matches `said`, and writes
    nothing."""
    workspace = Workspace(settings.workspace)
    before = [info.path for info in workspace.files("")]
    with pytest.raises(error, match=said):
        job(settings)
    assert [info.path for info in workspace.files("")] == before
