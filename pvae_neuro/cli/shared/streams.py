"""Standard streams as every verb needs them: closed, full, cut off or of any encoding."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO, cast

from pvae_neuro.utils.plain_text import PLAIN

# Number of standard error, the last one that has a meaning.
_LAST = 2


class ClosedOutput(io.TextIOBase):
    """Stands for an output that was closed before the start: what is written is dropped."""

    def write(self, text: str) -> int:
        """Drop a text."""
        return len(text)


class _Output(io.FileIO):
    """A stream that may fail: what comes afterwards is dropped, and the first error is kept.

    The work goes on to its end, so that its files are written and its exit code is right. A reader
    that goes away wants no more: that is no error.
    """

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            pass
        except OSError as error:
            self.failure = self.failure or error
        return memoryview(data).nbytes


def prepare_streams() -> None:
    """Make standard output and error such that printing fails only where output is lost.

    Letters that an encoding lacks are written in ASCII. A reader that goes away ends no work. A
    stream that was closed takes nothing, and its number is kept from files opened later.
    """
    _keep_numbers()
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123
    sys.stdout = _stream(sys.stdout, line_buffering=sys.stdout is not None and sys.stdout.isatty())
    sys.stderr = _stream(sys.stderr, line_buffering=True)


def output_failure() -> OSError | None:
    """Write out what standard output still holds in memory; the first error of all its writes."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.failure if isinstance(raw, _Output) else None


def _keep_numbers() -> None:
    """Open the numbers 0 to 2 where they are closed: a file that got one would be written to."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= _LAST:
        continue
    os.close(number)


def _stream(given: TextIO | None, line_buffering: bool) -> TextIO:
    if given is None:
        return cast("TextIO", ClosedOutput())
    raw = _Output(given.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), given.encoding, PLAIN, line_buffering=line_buffering
    )
