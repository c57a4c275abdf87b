"""What the nightly job need not remember any more: scored traces of runs that are over, and
histories of past nights."""

from datetime import UTC, datetime, timedelta

from dualrec.nightly.plan import NIGHTLY
from dualrec.publishing.retention import clean_up, last_written
from dualrec.storage.workspace import Workspace

ARTIFACT_KINDS = (
    *("catalog", "histories", "models", "recommendations", "traces", "predictions", "reports"),
)


def forget(workspace: Workspace, retention_days: int, keep: str) -> list[str]:
    """Remove what is older than the retention time, of publishing and of the nightly job; see
    `clean_up`.

    Args:
        keep: the histories that serve the present night.

    Returns:
        The names of the folders that were removed.

    Raises:
        WorkspaceError: the store failed; what was not removed is found again the next time.
    """
    limit = datetime.now(UTC) - timedelta(days=retention_days)
    nights = [f"{NIGHTLY}/{folder}" for folder in workspace.folders(NIGHTLY)]
    over = [folder for folder in nights if last_written(workspace, folder) < limit]
    over += [name for name in _histories_of_nights(workspace, limit) if name != keep]
    for kind in ARTIFACT_KINDS:
        attempts = workspace.abandoned_attempts(kind)
        over += [attempt for attempt in attempts if last_written(workspace, attempt) < limit]
    for folder in over:
        workspace.remove(folder)
    return [*clean_up(workspace, retention_days), *over]


def _histories_of_nights(workspace: Workspace, limit: datetime) -> list[str]:
    """Histories that were prepared for models of other data, and for nothing else, before the
    limit."""
    names = [f"histories/{folder}" for folder in workspace.folders("histories")]
    described = {name: workspace.description(name) for name in names if workspace.has(name)}
    return [
        name
        for name, made in described.items()
        if "items_of" in made and datetime.fromisoformat(made["made"]) < limit
    ]
