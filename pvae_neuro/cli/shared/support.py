"""What every verb shares: errors as one line, where text goes."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

from pvae_neuro.cli.shared.endings import one_line
from pvae_neuro.cli.shared.paths import STANDARD_OUTPUT, prepare, roles
from pvae_neuro.utils.plain_text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

P = ParamSpec("P")

AT_END = ExitStack()
"""What is to be closed when a verb ends, within reach of its one line for every error."""


def guarded(verb: Callable[P, None]) -> Callable[P, None]:
    """Check the paths of a verb, and turn what it raises into one line and an exit code."""
    known = roles(verb)

    @functools.wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with one_line():
            outputs = prepare(known, kwargs)
        with one_line(outputs), AT_END:
            verb(*args, **kwargs)

    return run


def check_run(steps: int, seed: int) -> None:
    """Refuse numbers of iterations and seeds that no engine takes."""
    from pvae_neuro.sim.engine import MOST_ITERATIONS
    from pvae_neuro.sim.noise import check_seed, check_whole

    check_whole("steps", steps, 1, MOST_ITERATIONS)
    check_seed(seed)


def write_json(path: Path | None, content: Any) -> None:
    """Write JSON to a file, whole or not at all, or to standard output for ``-``."""
    from pvae_neuro.utils.files import atomic_path
    from pvae_neuro.utils.json_text import json_text

    if path is None:
        return
    text = json_text(content)
    if path == STANDARD_OUTPUT:
        sys.stdout.write(text)
        return
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def console(json_path: Path | None = None, quiet: bool = False) -> Console:
    """Console for tables: standard output, unless JSON goes there or nothing is wanted."""
    from rich.console import Console

    if quiet or json_path == STANDARD_OUTPUT:
        return Console(stderr=True, quiet=quiet)
    # Beside a pipe or in a log there is no width to fit: do not fold numbers at 80 columns.
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120
    return Console(width=width, highlight=False)


def say(screen: Console, text: str) -> None:
    """Print a line as it is: paths are neither folded nor read as markup."""
    screen.print(printable(text, keep="\n"), soft_wrap=True, markup=False, highlight=False)


def say_alone(json_path: Path | None, quiet: bool, text: str) -> None:
    """Print a line where a console would, without loading what tables need."""
    if not quiet:
        stream = sys.stderr if json_path == STANDARD_OUTPUT else sys.stdout
        print(printable(text, keep="\n"), file=stream)


def plain_table(title: str, *columns: str, right: tuple[int, ...] = ()) -> Table:
    """Table in the style of this command line; ``right`` names right-aligned columns.

    Texts are shown as they are: names and reasons come from files, and may look like markup.
    """
    from rich import box
    from rich.table import Table

    class PlainTable(Table):
        def add_row(self, *cells: str | Text, **options: Any) -> None:  # type: ignore[override]
            super().add_row(*(_plain(cell) for cell in cells), **options)

    table = PlainTable(
        title=_plain(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD
    )
    for index, column in enumerate(columns):
        justify: Any = "right" if index in right else "left"
        # Names stand first: where a table is too wide, other columns are folded.
        table.add_column(column, justify=justify, overflow="fold", no_wrap=index == 0)
    return table


def _plain(cell: str | Text) -> Text:
    from rich.text import Text

    if isinstance(cell, Text):
        return Text(printable(cell.plain), style=cell.style)
    return Text(printable(cell))
