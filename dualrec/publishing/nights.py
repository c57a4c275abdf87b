"""What `dualrec nights` and `dualrec rollback` show. Knows no Delta; asks the manifests and the
publisher."""

from datetime import date

from rich.table import Column, Table

from dualrec.cluster.summary import Summary
from dualrec.config.settings import Settings
from dualrec.publishing.manifest import LISTS, MANIFESTS, number_before, numbers, standing_manifests
from dualrec.publishing.publish import roll_back
from dualrec.publishing.table import open_table
from dualrec.storage.workspace import Workspace


def nights(settings: Settings) -> Summary:
    """List the published nights: what stands for each date, and what a rollback would bring back.

    Raises:
        WorkspaceError: the workspace cannot be read.
        PublishError: a manifest is broken.
    """
    workspace = Workspace.of(settings)
    standing, found = standing_manifests(workspace), numbers(workspace)
    if not standing:
        open_table(workspace)  # to a listing, a bucket that is not there is only empty; this tells
    columns = ("number", "users", "rows", "run", "published (UTC)", "came by", "version before")
    table = Table(
        Column("night", no_wrap=True), *(Column(name, overflow="fold") for name in columns)
    )
    for manifest in standing:
        before = number_before(manifest, found[manifest.run_date])
        table.add_row(
            str(manifest.run_date),
            str(manifest.number),
            f"{manifest.users:,}",
            f"{manifest.rows:,}",
            manifest.run_id,
            f"{manifest.published:%Y-%m-%d %H:%M:%S}",
            "publishing" if manifest.restores is None else f"rollback to {manifest.restores}",
            "none" if before is None else str(before),
        )
    places = {"table": f"{workspace.uri}/{LISTS}", "manifests": f"{workspace.uri}/{MANIFESTS}"}
    return Summary(
        "nights", {"published nights": len(standing)}, places, [table] if standing else []
    )


def rollback(settings: Settings, run_date: date) -> Summary:
    """Bring back the version before of one night, and say what stands now.

    Raises:
        PublishError: the night was never published, has no version before, or another job came
            first.
        WorkspaceError: the workspace cannot be read or written.
    """
    workspace = Workspace.of(settings)
    manifest, replaced = roll_back(workspace, run_date)
    lines: dict[str, object] = {
        "night": run_date,
        "stands now": f"run {manifest.run_id}, first published as number {manifest.origin}",
        "taken back": f"run {replaced.run_id}, number {replaced.number}",
        "number": manifest.number,
        "users": manifest.users,
        "rows": manifest.rows,
    }
    return Summary("rollback", lines, {"table": f"{workspace.uri}/{LISTS}"})
