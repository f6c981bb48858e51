"""Timing several functions in turns, so that what else the machine does falls on all of them."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pvae_neuro.errors import EngineError
from pvae_neuro.utils.progress import Advance

# Runs so many iterations of all its images.
Run = Callable[[int], None]

# Fewest iterations of a measurement: what a call costs once must not be all of it.
FEWEST_STEPS = 4
FEWEST_TURNS = 3
LARGEST_GROWTH = 32
# Idle time before a measurement, in which the threads of the previous contender stop spinning.
PAUSE = 0.005
WARM_UP_SHARE = 0.1


class TooSlowError(EngineError):
    """A contender that would take longer than a case allows."""


@dataclass(frozen=True)
class Rules:
    """How long contenders are timed.

    Attributes
    ----------
    repeats : int
        Turns of each contender.
    steps : int or None
        Iterations of a call; None lets a call last ``min_seconds``.
    min_seconds : float
        Shortest measurement.
    limit_seconds : float
        A contender whose shortest sensible measurement takes longer is left out. One that would
        need more for all its turns takes fewer turns, but at least three.
    cpu : bool
        Whether the time is that of this process on its processors instead of the clock's: for
        contenders of one thread, on a machine that others use too.
    """

    repeats: int = 7
    steps: int | None = None
    min_seconds: float = 0.05
    limit_seconds: float = 10.0
    cpu: bool = False


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of several turns."""

    median: float
    q25: float
    q75: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarize at least one value."""
        low, middle, high = (float(q) for q in np.percentile(values, (25, 50, 75)))
        return cls(middle, low, high)


@dataclass(eq=False)
class Entry:
    """A contender that is ready to run, and its times so far.

    Attributes
    ----------
    name : str
    images : int
        Images that one call of ``run`` advances together.
    run : Run
    steps, calls : int
        A measurement is ``calls`` calls of ``steps`` iterations.
    turns : int
        Measurements to take.
    seconds : list of float
        One per measurement.
    clock : callable
        Seconds, of which a measurement is a difference.
    """

    name: str
    images: int
    run: Run
    steps: int = 1
    calls: int = 1
    turns: int = 1
    seconds: list[float] = field(default_factory=list)
    clock: Callable[[], float] = time.perf_counter

    def measure(self) -> float:
        """Seconds of one measurement."""
        start = self.clock()
        for _ in range(self.calls):
            self.run(self.steps)
        return self.clock() - start

    def warm_up(self) -> None:
        """Run a little, untimed, to fill caches and start threads."""
        time.sleep(PAUSE)
        self.run(max(1, min(self.steps, int(self.steps * self.calls * WARM_UP_SHARE))))

    def microseconds(self) -> list[float]:
        """Cost per image and iteration, by turn."""
        return [1e6 * t / (self.images * self.steps * self.calls) for t in self.seconds]


def calibrate(entry: Entry, rules: Rules) -> None:
    """Warm a contender up and settle how long its measurements are.

    Raises
    ------
    TooSlowError
        If one measurement would take more than ``rules.limit_seconds``.
    """
    if rules.cpu:
        entry.clock = time.process_time
    entry.run(1)  # compiles, allocates, touches memory
    entry.steps = 1
    seconds = entry.measure()
    fewest = rules.steps or FEWEST_STEPS
    _check_limit(entry, seconds * fewest, rules)
    entry.steps = fewest
    seconds = entry.measure()
    while seconds < rules.min_seconds:
        growth = min(1.2 * rules.min_seconds / max(seconds, 1e-9), LARGEST_GROWTH)
        if rules.steps is None:
            entry.steps = math.ceil(entry.steps * max(growth, 1.5))
        else:
            entry.calls = math.ceil(entry.calls * max(growth, 1.5))
        seconds = entry.measure()
    _check_limit(entry, seconds, rules)
    affordable = max(FEWEST_TURNS, int(rules.limit_seconds / seconds))
    entry.turns = min(rules.repeats, affordable)


def _check_limit(entry: Entry, seconds: float, rules: Rules) -> None:
    if seconds > rules.limit_seconds:
        raise TooSlowError(
            f"{entry.name}: one measurement takes about {seconds:.0f} s, more than the limit of "
            f"{rules.limit_seconds:g} s"
        )


def interleave(entries: list[Entry], seed: int, advance: Advance) -> dict[str, str]:
    """Measure all contenders in turns, in another order each turn.

    A contender that fails leaves the benchmark; the others go on. ``advance`` is called with 1
    after each measurement. Returns why a contender left, by its name.
    """
    failed: dict[str, str] = {}
    for turn in range(max((entry.turns for entry in entries), default=0)):
        order = [e for e in entries if turn < e.turns and e.name not in failed]
        random.Random(f"{seed}:{turn}").shuffle(order)
        for entry in order:
            try:
                entry.warm_up()
                entry.seconds.append(entry.measure())
            except EngineError as error:
                failed[entry.name] = str(error)
            advance(1)
    return failed


@dataclass(frozen=True)
class Measurement:
    """One contender in one case.

    Attributes
    ----------
    engine : str
    images : int
        Images that ran side by side; 1 for contenders without a batch axis.
    steps, calls : int
        Iterations of a call, calls of a measurement.
    turns : int
        Measurements.
    microseconds : Spread
        Per image and iteration.
    ratio : Spread or None
        Time of the baseline over time of this contender, turn by turn: how many times as fast.
    """

    engine: str
    images: int
    steps: int
    calls: int
    turns: int
    microseconds: Spread
    ratio: Spread | None


def measurements(entries: Sequence[Entry], baseline: str) -> tuple[Measurement, ...]:
    """Summarize contenders that have been timed, each against the baseline turn by turn."""
    timed = [entry for entry in entries if entry.seconds]
    base: Any = next((e.microseconds() for e in timed if e.name == baseline), None)
    found = []
    for entry in timed:
        mine = entry.microseconds()
        # Turn by turn: what slowed the machine for a while slowed both.
        ratios = None if base is None else [b / m for b, m in zip(base, mine, strict=False)]
        found.append(
            Measurement(
                engine=entry.name,
                images=entry.images,
                steps=entry.steps,
                calls=entry.calls,
                turns=len(mine),
                microseconds=Spread.of(mine),
                ratio=None if ratios is None else Spread.of(ratios),
            )
        )
    return tuple(found)
