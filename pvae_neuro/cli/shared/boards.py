"""Options that say how much a core of a board holds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from pvae_neuro.errors import InputError

Limits = Annotated[
    str, typer.Option("--limits", help="Where sources differ: cautious, or largest.")
]
Limit = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=NUMBER",
        help="A number in place of the sources', such as synapse=8 (bits); repeatable.",
        show_default=False,
    ),
]


def given_limits(texts: Iterable[str] | None) -> dict[str, int]:
    """Numbers of all ``--limit``."""
    found: dict[str, int] = {}
    for text in texts or ():
        name, equals, number = text.partition("=")
        if not equals or not number.isascii() or not number.isdecimal() or len(number) > 15:
            raise InputError(f"--limit: expected NAME=NUMBER, such as synapse=8, got {text!r}")
        if name in found:
            raise InputError(f"--limit: expected each name once, got {name!r} again")
        found[name] = int(number)
    return found
