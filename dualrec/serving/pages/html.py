"""The page as HTML that needs nothing else: no network, no scripts. Every title in it is data, and
escaped."""

from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from dualrec.serving.pages.run import RunView
from dualrec.serving.pages.user import UserView

TEMPLATE = "page.html.jinja"
SHOWN_HISTORY = 50  # movies


def html_page(run: RunView, user: UserView | None, links: dict[str, str], asks: bool) -> str:
    """One page.

    Args:
        user: shown above the run; None shows the run alone.
        links: words to addresses of other pages.
        asks: whether it has a form that asks its own address for another user, so only where it is
            served.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = files("dualrec.serving.pages").joinpath(TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(text).render(
        run=run, user=user, links=links, asks=asks, shown=SHOWN_HISTORY
    )
