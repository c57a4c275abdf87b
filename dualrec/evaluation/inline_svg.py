"""Matplotlib figures as SVG that stands in a page: its colours are the page's, its text is text,
its ids are its own.

Knows figures; not what they show. A page that holds it defines `--KIND` for the colour of each
kind.
"""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from dualrec.evaluation.system_kinds import KINDS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colours that stand for the page's own until the figure is written.
INK = "#010203"
FAINT = "#010204"
KIND_COLOURS = {kind.key: f"#0102{place:02x}" for place, kind in enumerate(KINDS, start=16)}
PAGE_COLOURS = {INK: "currentColor", FAINT: "var(--faint)"} | {
    colour: f"var(--{kind})" for kind, colour in KIND_COLOURS.items()
}

STYLE: Any = {
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "grid.color": FAINT,
    "grid.linewidth": 0.4,
    "svg.fonttype": "none",
    "svg.hashsalt": "dualrec",
    "text.color": INK,
    "text.parse_math": False,  # a name may hold a dollar sign
    "xtick.color": INK,
    "ytick.color": INK,
}


def inline_svg(
    draw: Callable[["Figure"], None],
    size: tuple[float, float],
    key: str,
    title: str,
    description: str,
) -> str:
    """One figure as an <svg> element that needs nothing from outside.

    Args:
        draw: fills the figure. A point is a pixel there.
        size: width and height in pixels.
        key: starts every id, so that figures of one page do not share any.
        description: the figure in words, for who cannot see it.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    written = io.StringIO()
    with rc_context(STYLE):
        figure = Figure(figsize=(size[0] / 72, size[1] / 72), dpi=72, layout="constrained")
        draw(figure)
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(written, format="svg", transparent=True, metadata=metadata)
    root = ElementTree.fromstring(written.getvalue())
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = _own(
            {name.rpartition("}")[2]: value for name, value in element.attrib.items()}, key
        )
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag in ("metadata", "style")]:
            parent.remove(child)
    _describe(root, key, title, description)
    return ElementTree.tostring(root, encoding="unicode")


def _own(attributes: dict[str, str], key: str) -> dict[str, str]:
    """Attributes with the page's colours, and ids and references that start with the key."""
    changed = {}
    for name, value in attributes.items():
        if name == "id":
            value = f"{key}-{value}"
        elif name == "href":
            value = value.replace("#", f"#{key}-", 1)
        else:
            value = value.replace("url(#", f"url(#{key}-")
            for colour, own in PAGE_COLOURS.items():
                value = value.replace(colour, own)
        changed[name] = value
    return changed


def _describe(root: ElementTree.Element, key: str, title: str, description: str) -> None:
    width, height = root.attrib["viewBox"].split()[2:]
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "width": width,
        "height": height,
        "role": "img",
        "aria-labelledby": f"{key}-title {key}-description",
    }
    for place, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ElementTree.Element(
            tag, {"id": f"{key}-{'title' if tag == 'title' else 'description'}"}
        )
        element.text = text
        root.insert(place, element)
