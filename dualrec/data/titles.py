"""The year at the end of a published title, such as "Heat (1995)". Knows strings only."""

import re

_YEAR = re.compile(r"\s*\((\d{4})(?:\s*[-–]\s*(?:\d{4})?)?\)\s*$")


def year_of(title: str) -> int | None:
    """The year in parentheses that ends a title, or None where there is none ("unknown")."""
    match = _YEAR.search(title)
    return int(match.group(1)) if match else None


def without_year(title: str) -> str:
    """The title without the year that ends it."""
    return _YEAR.sub("", title).strip()
