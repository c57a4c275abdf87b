"""Staged nights by construction: each row's title is the run that wrote it, so a reader can tell
whole nights from mixed."""

from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dualrec.config.settings import PublishSettings
from dualrec.publishing.manifest import Snapshot, staging_folder
from dualrec.publishing.publish import Published, publication_count, publish
from dualrec.publishing.verify import verify_lists
from dualrec.storage.schemas import RECOMMENDATIONS
from dualrec.storage.workspace import Workspace

NIGHT = date(2026, 11, 1)
USERS = np.arange(1, 7)
LENGTH = 3


def rows(
    run_id: str, users: Any = USERS, ranks: Any = (1, 2, 3), run_date: date = NIGHT
) -> list[dict[str, Any]]:
    """The lists of some users."""
    return [
        {
            "run_date": run_date,
            "user_id": int(user),
            "rank": rank,
            "item_id": rank,
            "title": run_id,
            "year": 1995,
            "genres": ["Drama"],
            "score": 1 / rank,
            "source": "both",
            "similar_history": [7],
        }
        for user in users
        for rank in ranks
    ]


def write(workspace: Workspace, folder: str, name: str, lists: list[dict[str, Any]]) -> None:
    """One file of a staged folder."""
    workspace.filesystem.create_dir(workspace.path(folder), recursive=True)
    table = pa.Table.from_pylist(lists, schema=RECOMMENDATIONS)
    pq.write_table(table, workspace.path(f"{folder}/{name}"), filesystem=workspace.filesystem)


def stage(
    workspace: Workspace, run_id: str, run_date: date = NIGHT, users: Any = USERS
) -> Snapshot:
    """Stage a whole night in two files, verify it, and describe it."""
    folder = staging_folder(run_date, run_id)
    for part, half in enumerate(np.array_split(np.asarray(users), 2)):
        write(workspace, folder, f"part-{part}.parquet", rows(run_id, half, run_date=run_date))
    whole = verify_lists(workspace, folder, np.asarray(users), run_date, LENGTH)
    return Snapshot(
        run_date=run_date,
        run_id=run_id,
        users=whole.users,
        rows=whole.rows,
        files=whole.files,
        models={"sequence": "0123456789ab"},
        settings_hash="ba9876543210",
        metrics={"HR@5": 0.4},
        cost={"tokens": 12},
    )


def publish_run(workspace: Workspace, run_id: str, run_date: date = NIGHT) -> Published:
    """Stage a night and publish it over what stands."""
    night = stage(workspace, run_id, run_date)
    return publish(workspace, night, publication_count(workspace, run_date), PublishSettings())
