"""How a command ends: one line on stderr and an exit code, whatever was raised."""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from pvae_neuro.cli.shared.remedies import with_flags
from pvae_neuro.errors import PvaeNeuroError, PvaeNeuroWarning, QualityError
from pvae_neuro.utils.plain_text import printable

EXIT_FAILED = 1
"""A check failed, and nothing else."""

EXIT_BAD_INPUT = 2
"""The user's input or machine: files, options, memory, disk, missing packages."""

EXIT_FAULT = 70
"""An exception that nobody foresaw."""

EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

TRACEBACK = "PVAE_NEURO_TRACEBACK"
"""Environment variable: if set, tracebacks and the warnings of other packages are printed."""


# Longer lines hide what is wrong in what they quote.
_LONGEST_ERROR = 1000


class Terminated(SystemExit):
    """The process was asked to end (SIGTERM)."""


def _line(error: Any) -> str:
    return f"error: {with_flags(error)}"


def _usage(error: Any) -> str:
    verb = "pvae-neuro" if error.ctx is None else error.ctx.command_path
    return f"error: {error.format_message().rstrip('.')}; see {verb} --help"


def _memory(error: Any) -> str:
    said = f" ({error})" if str(error) else ""
    return f"error: not enough memory{said}; give fewer samples or steps"


def _torch_memory(error: BaseException) -> MemoryError | None:
    """What torch means, which raises a RuntimeError where memory is short; None if not that."""
    short = re.search(r"out of memory|not enough memory|allocate memory", str(error))
    if short is None or not isinstance(error, RuntimeError) or isinstance(error, PvaeNeuroError):
        return None
    size = re.search(r"tried to allocate [\d.]+ \w+", str(error), re.IGNORECASE)
    return MemoryError(*([size[0].lower()] if size else []))


def _system(error: Any) -> str:
    if error.filename is None or error.strerror is None:
        return f"error: {error}"
    return f"error: {os.fsdecode(error.filename)}: {error.strerror}"


def _fault(error: Any) -> str:
    return (
        f"error: unexpected {type(error).__name__} ({error}); this is a fault of pvae-neuro and "
        f"not of your input: please report it, with the command and what it prints when "
        f"{TRACEBACK}=1 is set"
    )


# The first kind that fits says what is printed and how the process exits. The class of wrong
# usage has no public name in typer.
_ENDINGS: tuple[tuple[type[BaseException], int, Callable[[Any], str]], ...] = (
    (QualityError, EXIT_FAILED, _line),
    (PvaeNeuroError, EXIT_BAD_INPUT, _line),
    (typer.BadParameter.__bases__[0], EXIT_BAD_INPUT, _usage),
    (MemoryError, EXIT_BAD_INPUT, _memory),
    (OSError, EXIT_BAD_INPUT, _system),
    (KeyboardInterrupt, EXIT_INTERRUPTED, lambda error: "interrupted"),
    (Terminated, EXIT_TERMINATED, lambda error: "terminated"),
    (Exception, EXIT_FAULT, _fault),
)


@contextmanager
def one_line(outputs: Sequence[Path] = ()) -> Iterator[None]:
    """Print what the block raises as one line on stderr, and leave with its exit code.

    A command that is interrupted says which of its ``outputs`` it had written by then.
    """
    before = {path: _stamp(path) for path in outputs}
    try:
        yield
    except typer.Exit:
        raise
    except BaseException as error:
        meant = _torch_memory(error) or error
        fitting = ((c, d) for kind, c, d in _ENDINGS if isinstance(meant, kind))
        ending = next(fitting, None)
        if ending is None:
            raise
        code, describe = ending
        if os.environ.get(TRACEBACK):
            traceback.print_exc()
        said = describe(meant)
        if not isinstance(error, Exception):
            finished = [str(path) for path in outputs if _stamp(path) != before[path]]
            said += (
                f"; written before, whole: {', '.join(finished)}"
                if finished
                else "; nothing half-written was left behind"
            )
        say_line(_shortened(said))
        raise typer.Exit(code) from None


def _shortened(text: str) -> str:
    """An error that quotes something long, with its beginning and its end."""
    if len(text) <= _LONGEST_ERROR:
        return text
    return f"{text[: _LONGEST_ERROR - 205]} ... {text[-200:]}"


def say_line(text: str) -> None:
    """Print a text on stderr as one line, control characters escaped."""
    print(printable(" ".join(text.split())), file=sys.stderr, flush=True)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What tells a file from the one that replaces it."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def quiet_libraries() -> None:
    """Show warnings of this package as a line each; those of others only with tracebacks."""
    if os.environ.get(TRACEBACK) or sys.warnoptions:
        return
    warnings.showwarning = _show_warning
    # What a library logs without a handler goes to stderr.
    logging.lastResort = None


def _show_warning(
    message: Warning | str, category: type[Warning], *where: object, **further: object
) -> None:
    if issubclass(category, PvaeNeuroWarning):
        say_line(f"warning: {message}")
