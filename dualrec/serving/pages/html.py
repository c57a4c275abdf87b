"""The pages as HTML that needs nothing else: no network, no scripts; and `dualrec report`, which
writes them to a folder. Every title in them is data, and escaped."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from dualrec.cluster.summary import Summary
from dualrec.config.settings import Settings
from dualrec.errors import InputError, PublishError
from dualrec.publishing.manifest import latest_manifest
from dualrec.serving.explain import known_salt
from dualrec.serving.pages.run import RunView, run_view
from dualrec.serving.pages.user import UserView, user_view
from dualrec.storage.workspace import Workspace

TEMPLATE = "page.html.jinja"
INDEX = "index.html"
SHOWN_HISTORY = 50  # movies


def html_page(run: RunView, user: UserView | None, links: dict[str, str], has_form: bool) -> str:
    """Render one page.

    Args:
        user: shown above the run; None shows the run alone.
        links: words to addresses of other pages.
        has_form: whether a form requests another user from the page's own address, so only where
            it is served.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = files("dualrec.serving.pages").joinpath(TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(text).render(
        run=run, user=user, links=links, has_form=has_form, shown=SHOWN_HISTORY
    )


def report(settings: Settings, users: Sequence[int], folder: Path) -> Summary:
    """Write a page of the active snapshot of the last run date, and one of each user.

    Args:
        users: whose pages are written.
        folder: created where it is not there; pages of the same names are replaced.

    Raises:
        PublishError: nothing was published, or a manifest is broken.
        InputError: a user has neither a list nor a history in the snapshot.
        WorkspaceError: the workspace cannot be read, or the folder not written.
    """
    workspace = Workspace.of(settings)
    manifest = latest_manifest(workspace)
    if manifest is None:
        raise PublishError(
            f"{workspace.uri} holds no published snapshot: run `dualrec nightly` first"
        )
    run = run_view(workspace, manifest)
    names = {f"user {user}": f"user-{user}.html" for user in users}
    pages = {INDEX: html_page(run, None, names, has_form=False)}
    for user in users:
        view = user_view(workspace, manifest, run.previous, user, known_salt(settings))
        if not view.listed and not view.watched:
            raise InputError(
                f"user {user} has neither a list nor a history in the snapshot of "
                f"{manifest.run_date}"
            )
        links = {"the snapshot": INDEX}
        pages[names[f"user {user}"]] = html_page(run, view, links, has_form=False)
    target = Workspace(str(folder))
    for name, page in pages.items():
        target.write_bytes(name, page.encode())
    lines: dict[str, object] = {"run date": manifest.run_date, "users": len(users)}
    return Summary("report", lines, {"page": str(folder / INDEX)})
