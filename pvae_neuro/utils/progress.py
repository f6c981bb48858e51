"""How long work tells how far it is: two kinds of function, and where what they tell is shown.

A call that may take long has an argument ``progress``: a function of the caller's, or

* None: a bar where standard error is a terminal, a line now and then in a notebook, else nothing,
* True: a bar where standard error is a terminal, else a line now and then,
* False: nothing.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

Advance = Callable[[int], None]
"""Takes the units of work done since its last call."""

StageProgress = Callable[[str, int, int], None]
"""Takes the name of a stage, the units done of it, and the units in all."""

# A shorter stage is not worth a line in a log.
QUIET_SECONDS = 2.0
# A share of the work from which the time that is left can be told.
LEAST_SHARE = 0.05
# Lines of a stage that goes on come at this distance.
LINE_SECONDS = 10.0

# There is one place on a screen: whoever holds it shows, and calls within that call do not.
_screen = threading.Lock()
_clock = time.monotonic


def no_advance(units: int) -> None:
    """Show nothing."""


def no_stages(stage: str, done: int, total: int) -> None:
    """Show nothing."""


def stage_advance(tell: StageProgress, stage: str, total: int) -> Advance:
    """Advance one stage: add up the units and tell how many are done in all."""
    done = 0

    def advance(units: int) -> None:
        nonlocal done
        done += units
        tell(stage, done, total)

    return advance


@contextmanager
def shown_stages(
    progress: StageProgress | bool | None, prefix: str = ""
) -> Iterator[StageProgress]:
    """Function to tell about work that goes through stages; see the top of this file.

    ``prefix`` is put before their names.
    """
    if callable(progress):
        yield progress
        return
    way = _way(progress)
    if way is None or not _screen.acquire(blocking=False):
        yield no_stages
        return
    try:
        with way(prefix) as tell:
            yield tell
    finally:
        _screen.release()


@contextmanager
def shown_advance(progress: Advance | bool | None, stage: str, total: int) -> Iterator[Advance]:
    """Function to tell about work of one stage and so many units; see the top of this file."""
    if callable(progress):
        yield progress
        return
    with shown_stages(progress) as tell:
        yield stage_advance(tell, stage, total)


def _way(progress: bool | None) -> Callable[[str], AbstractContextManager[StageProgress]] | None:
    if progress is False or sys.stderr is None:
        return None
    if sys.stderr.isatty():
        return _bars
    return _lines if progress or _in_a_notebook() else None


def _in_a_notebook() -> bool:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return type(shell).__name__ == "ZMQInteractiveShell"


@contextmanager
def _lines(prefix: str) -> Iterator[StageProgress]:
    """A line for each stage that took a while, and now and then for one that goes on."""
    begun: dict[str, float] = {}
    last_told = last_line = _clock()

    def tell(stage: str, done: int, total: int) -> None:
        nonlocal last_told, last_line
        now = _clock()
        # The first report comes when a part is done: the stage began where the last one ended.
        seconds = now - begun.setdefault(stage, last_told)
        last_told = now
        if done >= total:
            text = f"{seconds:.1f} s" if seconds > QUIET_SECONDS else None
        elif now - last_line >= LINE_SECONDS:
            # What comes before, such as a compilation, says nothing about the rest.
            known = done >= LEAST_SHARE * total
            left = f", about {seconds * (total - done) / done:.0f} s left" if known else ""
            text = f"{100 * done / total:.0f} %{left}"
        else:
            text = None
        if text is not None:
            last_line = now
            print(f"{prefix}{stage}: {text}", file=sys.stderr, flush=True)

    yield tell


@contextmanager
def _bars(prefix: str) -> Iterator[StageProgress]:
    """A bar for each stage, gone at the end."""
    bars: Any = None
    tasks: dict[str, Any] = {}

    def tell(stage: str, done: int, total: int) -> None:
        nonlocal bars
        if bars is None:
            bars = _rich_bars()
            bars.start()
        if stage not in tasks:
            tasks[stage] = bars.add_task(f"{prefix}{stage}", total=total)
        bars.update(tasks[stage], completed=done, total=total)

    try:
        yield tell
    finally:
        if bars is not None:
            bars.stop()


def _rich_bars() -> Any:
    # Loaded where a bar is shown, and nowhere else.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=Console(stderr=True),
        transient=True,
    )
