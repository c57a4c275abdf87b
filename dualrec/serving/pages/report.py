"""What `dualrec report` writes: a folder of pages, one of the last night and one of each user that
is asked for."""

from collections.abc import Sequence
from pathlib import Path

from dualrec.cluster.summary import Summary
from dualrec.config.settings import Settings
from dualrec.errors import InputError, PublishError
from dualrec.publishing.manifest import last_standing
from dualrec.serving.explain import known_salt
from dualrec.serving.pages.html import html_page
from dualrec.serving.pages.run import run_view
from dualrec.serving.pages.user import user_view
from dualrec.storage.workspace import Workspace

FIRST = "index.html"


def report(settings: Settings, users: Sequence[int], folder: Path) -> Summary:
    """Write the pages of the last published night.

    Args:
        users: whose pages are written.
        folder: made where it is not there; pages of the same names are replaced.

    Raises:
        PublishError: nothing was published, or a manifest is broken.
        InputError: a user has neither a list nor a history that night.
        WorkspaceError: the workspace cannot be read, or the folder not written.
    """
    workspace = Workspace.of(settings)
    night = last_standing(workspace)
    if night is None:
        raise PublishError(f"{workspace.uri} holds no published night: run `dualrec nightly` first")
    run = run_view(workspace, night)
    names = {f"user {user}": f"user-{user}.html" for user in users}
    pages = {FIRST: html_page(run, None, names, asks=False)}
    for user in users:
        view = user_view(workspace, run.night, run.before, user, known_salt(settings))
        if not view.listed and not view.watched:
            raise InputError(
                f"user {user} has neither a list nor a history in the night of {run.night.run_date}"
            )
        pages[names[f"user {user}"]] = html_page(run, view, {"the night": FIRST}, asks=False)
    target = Workspace(str(folder))
    for name, page in pages.items():
        target.write_bytes(name, page.encode())
    lines: dict[str, object] = {"night": run.night.run_date, "users": len(users)}
    return Summary("report", lines, {"page": str(folder / FIRST)})
