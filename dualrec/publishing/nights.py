"""The commands `dualrec nights` and `dualrec rollback`: list the active snapshots, roll one back.
Knows manifests and the publisher, no Delta."""

from datetime import date

from rich.table import Column, Table

from dualrec.cluster.summary import Summary
from dualrec.config.settings import Settings
from dualrec.publishing.manifest import (
    LISTS,
    MANIFESTS,
    current_manifests,
    manifest_numbers,
    previous_number,
)
from dualrec.publishing.publish import roll_back
from dualrec.publishing.table import open_table
from dualrec.storage.workspace import Workspace


def nights(settings: Settings) -> Summary:
    """List the active snapshot of each published run date, and its previous version.

    Raises:
        WorkspaceError: the workspace cannot be read.
        PublishError: a manifest is broken.
    """
    workspace = Workspace.of(settings)
    manifests, numbers = current_manifests(workspace), manifest_numbers(workspace)
    if not manifests:
        open_table(workspace)  # raises where the bucket is missing; a listing shows it as empty
    columns = ("number", "users", "rows", "run", "published (UTC)", "came by", "previous")
    table = Table(
        Column("run date", no_wrap=True), *(Column(name, overflow="fold") for name in columns)
    )
    for manifest in manifests:
        previous = previous_number(manifest, numbers[manifest.run_date])
        table.add_row(
            str(manifest.run_date),
            str(manifest.number),
            f"{manifest.users:,}",
            f"{manifest.rows:,}",
            manifest.run_id,
            f"{manifest.published:%Y-%m-%d %H:%M:%S}",
            "publishing" if manifest.restores is None else f"rollback to {manifest.restores}",
            "none" if previous is None else str(previous),
        )
    paths = {"table": f"{workspace.uri}/{LISTS}", "manifests": f"{workspace.uri}/{MANIFESTS}"}
    lines: dict[str, object] = {"published run dates": len(manifests)}
    return Summary("nights", lines, paths, [table] if manifests else [])


def rollback(settings: Settings, run_date: date) -> Summary:
    """Roll one run date back to its previous version, and say which is active now.

    Raises:
        PublishError: the run date was never published, has no previous version, or another job
            came first.
        WorkspaceError: the workspace cannot be read or written.
    """
    workspace = Workspace.of(settings)
    manifest, replaced = roll_back(workspace, run_date)
    lines: dict[str, object] = {
        "run date": run_date,
        "active now": f"run {manifest.run_id}, first published as number {manifest.origin}",
        "replaced": f"run {replaced.run_id}, number {replaced.number}",
        "number": manifest.number,
        "users": manifest.users,
        "rows": manifest.rows,
    }
    return Summary("rollback", lines, {"table": f"{workspace.uri}/{LISTS}"})
