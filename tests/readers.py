"""Readers of published nights, written as a stranger would from docs/nightly.md: without dualrec's
publishing code."""

import json
from datetime import date

import pyarrow.fs as pafs
import pyarrow.parquet as pq

from dualrec.publishing.table import table_uri
from dualrec.storage.filesystems import delta_options
from dualrec.storage.workspace import Workspace


def through_manifest(workspace: Workspace, run_date: date) -> list[tuple[int, int, str]]:
    """User, rank and title of one night, by its last manifest."""
    table = workspace.path("recommendations")
    folder = pafs.FileSelector(f"{table}/_manifests/run_date={run_date}", allow_not_found=True)
    manifests = sorted(
        info.path
        for info in workspace.filesystem.get_file_info(folder)
        if info.base_name[0].isdigit()
    )
    if not manifests:
        return []
    with workspace.filesystem.open_input_stream(manifests[-1]) as stream:
        files = [f"{table}/{file['path']}" for file in json.loads(stream.read())["files"]]
    lists = [
        pq.read_table(file, filesystem=workspace.filesystem, partitioning=None) for file in files
    ]
    return sorted(
        (row["user_id"], row["rank"], row["title"])
        for table in lists
        for row in table.select(["user_id", "rank", "title"]).to_pylist()
    )


def through_delta(workspace: Workspace, run_date: date) -> list[tuple[int, int, str]]:
    """The same, by the Delta table."""
    from deltalake import DeltaTable

    options = None if workspace.is_local else delta_options()
    if not DeltaTable.is_deltatable(table_uri(workspace), options):
        return []
    table = DeltaTable(table_uri(workspace), storage_options=options)
    lists = table.to_pyarrow_table(partitions=[("run_date", "=", str(run_date))])
    return sorted((row["user_id"], row["rank"], row["title"]) for row in lists.to_pylist())
