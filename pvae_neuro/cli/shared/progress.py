"""Progress on stderr: bars on a terminal, a line per finished stage elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pvae_neuro.utils.progress import Advance, StageProgress, no_stages, stage_advance

# Shorter stages are not worth a line in a log.
QUIET_SECONDS = 2.0


@contextmanager
def stages(prefix: str = "", quiet: bool = False) -> Iterator[StageProgress]:
    """Show the progress of work that goes through stages; ``prefix`` is put before their names."""
    if quiet:
        yield no_stages
    elif sys.stderr.isatty():
        with _bars() as bars:
            yield _on_terminal(bars, prefix)
    else:
        yield _in_a_log(prefix)


@contextmanager
def single(title: str, total: int, quiet: bool = False) -> Iterator[Advance]:
    """Show the progress of work of one stage and so many units."""
    with stages(quiet=quiet) as tell:
        yield stage_advance(tell, title, total)


def _on_terminal(bars: Any, prefix: str) -> StageProgress:
    tasks: dict[str, Any] = {}

    def tell(stage: str, done: int, total: int) -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(f"{prefix}{stage}", total=total)
        bars.update(tasks[stage], completed=done)

    return tell


def _in_a_log(prefix: str) -> StageProgress:
    started: dict[str, float] = {}
    last = time.perf_counter()

    def tell(stage: str, done: int, total: int) -> None:
        nonlocal last
        now = time.perf_counter()
        # The first report comes when a part is done: the stage began where the last one ended.
        begun = started.setdefault(stage, last)
        last = now
        if done >= total and now - begun > QUIET_SECONDS:
            print(f"{prefix}{stage}: {now - begun:.1f} s", file=sys.stderr, flush=True)

    return tell


def _bars() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=Console(stderr=True),
        transient=True,
    )
