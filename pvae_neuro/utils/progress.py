"""How long work tells its caller how far it is: two kinds of function, for the whole package."""

from __future__ import annotations

from collections.abc import Callable

Advance = Callable[[int], None]
"""Takes the units of work done since its last call."""

StageProgress = Callable[[str, int, int], None]
"""Takes the name of a stage, the units done of it, and the units in all."""


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
