"""`prepare` where a node is lost in the shuffle, and where a node's disk fills: real shuffles of
millions of rows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dualrec.data.splits import SPLITS
from dualrec.storage.schemas import HISTORIES
from dualrec.storage.workspace import Workspace

pytestmark = [pytest.mark.end_to_end, pytest.mark.chaos, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
ROWS, USERS, ITEMS = 3_000_000, 40_000, 5_000  # 108 MB on their way through the shuffle
# Ray's least memory for objects, and a disk that it takes for full. What Ray says of a disk that is
# full is the same.
FULL_DISK = {
    "RAY_local_fs_capacity_threshold": "0.0001",
    "RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES": "80000000",
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Settings that name an interaction table, in eight files, and an item table."""
    folder, random = tmp_path_factory.mktemp("tables"), np.random.default_rng(0)
    (folder / "views").mkdir()
    for number in range(8):
        rows = ROWS // 8
        columns = {
            "user_id": random.integers(0, USERS, rows),
            "item_id": random.integers(0, ITEMS, rows),
            "timestamp": random.integers(0, 10**9, rows),
        }
        pq.write_table(pa.table(columns), folder / f"views/{number}.parquet")
    items = {"item_id": range(ITEMS), "title": [f"Movie {item} (1999)" for item in range(ITEMS)]}
    pq.write_table(pa.table({**items, "genres": ["Drama"] * ITEMS}), folder / "items.parquet")
    return [
        f"data.source={folder / 'views'}",
        f"data.items={folder / 'items.parquet'}",
        "data.top_items=0",
    ]


def _prepared(
    module: str, workspace: Path, tables: list[str], **environment: str
) -> subprocess.CompletedProcess[str]:
    settings = [*tables, f"workspace={workspace}", "data.shards=8"]
    words = (
        settings
        if module.startswith("tests.")
        else [word for one in settings for word in ("--set", one)]
    )
    command = [sys.executable, "-m", module, *words]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        timeout=500,
        capture_output=True,
        text=True,
        check=False,
    )


def _histories(folder: Path) -> pa.Table:
    workspace = Workspace(str(folder))
    (version,) = workspace.folders("histories")
    content = workspace.content(f"histories/{version}")
    read = [workspace.read_table(f"{content}/split={split}", HISTORIES) for split in SPLITS]
    return pa.concat_tables(read).sort_by("user_id")


def test_a_full_disk_is_told_and_with_room_the_same_command_goes_through(
    tables: list[str], tmp_path: Path
) -> None:
    full = _prepared("jobs.prepare", tmp_path / "ours", tables, **FULL_DISK)
    assert full.returncode == 1
    assert full.stderr.splitlines()[-1].startswith("error: the disk of a node is full: ")
    assert "Traceback" not in full.stdout + full.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    again = _prepared("jobs.prepare", tmp_path / "ours", tables)
    assert again.returncode == 0, again.stderr
    assert len(_histories(tmp_path / "ours")) == USERS


def test_a_node_that_is_lost_costs_no_row(tables: list[str], tmp_path: Path) -> None:
    whole = _prepared("jobs.prepare", tmp_path / "ours", tables)
    assert whole.returncode == 0, whole.stderr
    lost = _prepared("tests.data.three_nodes", tmp_path / "lost", tables)
    assert lost.returncode == 0, lost.stdout + lost.stderr
    assert json.loads(lost.stdout.splitlines()[-1])["tasks"], (
        "the node that was lost held a part of the shuffle"
    )
    assert _histories(tmp_path / "lost").equals(_histories(tmp_path / "ours"))
