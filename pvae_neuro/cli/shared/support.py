"""What every verb shares: errors as one line, where text goes."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import typer

from pvae_neuro.cli.shared.paths import STANDARD_OUTPUT, prepare, roles
from pvae_neuro.cli.shared.remedies import with_flags
from pvae_neuro.errors import PvaeNeuroError
from pvae_neuro.utils.plain_text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

P = ParamSpec("P")

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def guarded(verb: Callable[P, None]) -> Callable[P, None]:
    """Check the paths of a verb, and turn what it raises into one line and an exit code."""
    known = roles(verb)

    @functools.wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            prepare(known, kwargs)
            verb(*args, **kwargs)
        except PvaeNeuroError as error:
            fail(with_flags(error))
        except MemoryError as error:
            fail(f"not enough memory ({error}); give fewer samples or steps")
        except BrokenPipeError:
            raise  # the reader of our output went away; typer ends the process quietly
        except OSError as error:
            fail(str(error))
        except KeyboardInterrupt:
            print("interrupted; nothing half-written was left behind", file=sys.stderr)
            raise typer.Exit(EXIT_INTERRUPTED) from None

    return run


def fail(message: str) -> None:
    """Print one line and leave with the exit code of bad input."""
    print("error: " + printable(" ".join(message.split())), file=sys.stderr)
    raise typer.Exit(EXIT_BAD_INPUT) from None


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
    screen.print(text, soft_wrap=True, markup=False, highlight=False)


def plain_table(title: str, *columns: str, right: tuple[int, ...] = ()) -> Table:
    """Table in the style of this command line; ``right`` names right-aligned columns."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index in right else "left", overflow="fold")
    return table
