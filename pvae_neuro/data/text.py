"""Text: each row is a window of symbols and the one that follows, as Unicode code points.

A window of C symbols has C + 1 columns: a model is given the first C and predicts the last C. The
windows follow each other, so that every symbol but the first is predicted once, and up to C - 1 at
the end, which fill no window, never. The last tenth of a text is its test part.
"""

from __future__ import annotations

import sys
from pathlib import Path
from platform import python_version

import numpy as np

from pvae_neuro.data.contents import Contents, Request
from pvae_neuro.errors import InputError
from pvae_neuro.utils.memory import require_memory
from pvae_neuro.utils.whole_file import read_whole

TEXT_ENDING = ".txt"
WINDOWED = frozenset({"size", "window"})
"""What readers of texts heed: a size, which is that of a window."""
TOPICS = "python-topics"
"""Name of the text that comes with Python."""

CONTEXT = 32
"""Symbols of a window where neither the user nor a model says it."""

_TEST_SHARE = 0.1
# A window as it is stored and as float32, and the text beside it.
_BYTES_PER_SYMBOL = 16


def read_text_file(path: Path, request: Request) -> Contents:
    """Windows of a file in UTF-8.

    Raises :class:`InputError` if the file is absent, no UTF-8, empty or shorter than a window and
    the symbol that follows, or if it exceeds the limit of memory.
    """
    data = read_whole(path, "a text in UTF-8", copies=_BYTES_PER_SYMBOL)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: expected a text in UTF-8, got the byte {data[error.start]:#04x} at place "
            f"{error.start:,}, which is none; store the text in UTF-8"
        ) from error
    return _windows(text, str(path), request)


def read_topics(request: Request) -> Contents:
    """Windows of the topics of Python's ``help``, which this version of Python ships, by name."""
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in sorted(topics))
    require_memory(len(text) * _BYTES_PER_SYMBOL, TOPICS)
    return _windows(text, TOPICS, request, f"of Python {python_version()}")


def _windows(text: str, name: str, request: Request, *said: str) -> Contents:
    context = _context(request)
    part = request.split or "test"
    cut = round(len(text) * (1.0 - _TEST_SHARE))
    chosen = {"train": text[:cut], "test": text[cut:], "all": text}[part]
    if len(chosen) <= context:
        which = "" if part == "all" else f"in the {part} part "
        raise InputError(
            f"{name}: expected at least {context + 1:,} symbols {which}for windows of {context:,} "
            f"and the one that follows, got {len(chosen):,} of {len(text):,} in all; give a longer "
            f"text"
        )
    codes = np.frombuffer(chosen.encode("utf-32-le"), "<u4").astype(np.float32)
    # A copy: rows overlap by one symbol.
    rows = np.lib.stride_tricks.sliding_window_view(codes, context + 1)[::context].copy()
    which = "the whole text" if part == "all" else f"the {part} part"
    share = f"{which}, {len(chosen):,} symbols"
    left = len(chosen) - 1 - len(rows) * context
    if left:
        share += f", the last {left:,} of which fill no window"
    meaning = f"windows of {context:,} symbols and the one that follows, as Unicode code points"
    return Contents(
        rows,
        declared=np.array([0.0, sys.maxunicode], np.float32),
        scale=1.0,
        meaning=meaning,
        said=(share, *said),
        part=part,
    )


def _context(request: Request) -> int:
    """Symbols of a window: what the user says, or what the model takes."""
    if request.window is not None:
        return request.window
    return CONTEXT if request.columns is None else max(1, request.columns - 1)
