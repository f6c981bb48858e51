"""A figure as SVG inside a page: small, always the same bytes, in the page's colours and font."""

from __future__ import annotations

import io
import re
from html import escape
from typing import TYPE_CHECKING

from pvae_neuro.plots.style import DIFFERENCE_COLOR, FLOAT_COLOR, GUIDE, INK, INTEGER_COLOR

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Variables of the page, which are other colours in the dark.
_VARIABLES = {
    INK: "var(--ink)",
    "#000000": "var(--ink)",
    GUIDE: "var(--guide)",
    FLOAT_COLOR: "var(--float)",
    INTEGER_COLOR: "var(--integer)",
    DIFFERENCE_COLOR: "var(--difference)",
}
_GROUP_OF_COPIES = re.compile(
    r'<g((?: [\w-]+="[^"]*")*)>\s*((?:<use [^>]*?style="([^"]*)"/>\s*){2,})</g>'
)
_LONG_FRACTION = re.compile(r"(\.\d\d)\d+")
PICTURE_DPI = 220
"""Of what is a picture inside a figure, such as a great many dots."""
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def inline_svg(figure: Figure, label: str, salt: str) -> str:
    """Return a figure as an ``<svg>`` element without a background.

    Texts stay texts, in the font of the page. Inks are the variables ``--ink``, ``--guide``,
    ``--float``, ``--integer`` and ``--difference`` of the page.

    Parameters
    ----------
    figure : Figure
    label : str
        What a reader who cannot see it is told.
    salt : str
        Different for each figure of a page: names inside are made of it.
    """
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(
            buffer, format="svg", transparent=True, metadata=_NO_METADATA, dpi=PICTURE_DPI
        )
    body = buffer.getvalue().partition("<svg")[2].partition(">")[2].rpartition("</svg>")[0]
    width, height = (72 * inches for inches in figure.get_size_inches())
    head = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}">'
    return f"{head}{_smaller(body)}</svg>"


def _smaller(body: str) -> str:
    """Leave out what a page has itself or does not show, and digits below a hundredth of a point.

    A pattern cannot match within a picture: base64 has neither quotes, points, spaces nor angles.
    """
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.S)
    for color, variable in _VARIABLES.items():
        body = body.replace(f": {color}", f": {variable}")
    body = re.sub(r" ?font-family: [^;]*;", "", body)
    body = re.sub(r"<[^>]+>", lambda tag: _LONG_FRACTION.sub(r"\1", tag[0]), body)
    body = re.sub(r" transform=\"rotate\(-?0 [^\"]*\"", "", body)
    used = set(re.findall(r"#([\w.-]+)", body))
    body = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", body)
    body = _GROUP_OF_COPIES.sub(_styled_once, body)
    return re.sub(r"\s*\n\s*", " ", re.sub(r">\s+<", "><", body))


def _styled_once(found: re.Match[str]) -> str:
    """Give a group the style that all of its copies of a mark repeat."""
    attributes, uses, style = found.groups()
    repeated = f' style="{style}"'
    if uses.count(repeated) != uses.count("<use "):
        return found[0]
    return f"<g{attributes}{repeated}>{uses.replace(repeated, '')}</g>"
