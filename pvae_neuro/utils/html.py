"""Small tables that notebooks show for an object; ``_repr_html_`` returns one."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from pvae_neuro.utils.plain_text import printable


def html_table(caption: str, rows: Iterable[tuple[object, ...]]) -> str:
    """A table whose first column names what the others say; all texts are escaped."""
    body = "".join(
        f"<tr><th style='text-align:left'>{_text(name)}</th>"
        + "".join(f"<td style='text-align:left'>{_text(value)}</td>" for value in values)
        + "</tr>"
        for name, *values in rows
    )
    head = f"<caption style='text-align:left'><b>{_text(caption)}</b></caption>"
    return f"<table>{head}{body}</table>"


def _text(value: object) -> str:
    return escape(printable(value))
