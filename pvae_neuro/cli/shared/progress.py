"""Progress on stderr: bars on a terminal, lines elsewhere, nothing where quiet."""

from __future__ import annotations

from contextlib import AbstractContextManager

from pvae_neuro.utils.progress import Advance, StageProgress, shown_advance, shown_stages


def stages(prefix: str = "", quiet: bool = False) -> AbstractContextManager[StageProgress]:
    """Show the progress of work that goes through stages; ``prefix`` is put before their names."""
    return shown_stages(not quiet, prefix)


def single(title: str, total: int, quiet: bool = False) -> AbstractContextManager[Advance]:
    """Show the progress of work of one stage and so many units."""
    return shown_advance(not quiet, title, total)
