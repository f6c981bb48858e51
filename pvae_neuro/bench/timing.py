"""Timing several functions in turns, so that what else the machine does falls on all of them."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pvae_neuro.bench.config import BenchConfig
from pvae_neuro.errors import EngineError

# Runs so many iterations of all its images.
Run = Callable[[int], None]
# Told after each measurement.
Tick = Callable[[], None]

# Fewest iterations of a measurement: what a call costs once must not be all of it.
FEWEST_STEPS = 4
FEWEST_TURNS = 3
LARGEST_GROWTH = 32
# Idle time before a measurement, in which the threads of the contender before it stop spinning.
PAUSE = 0.005
WAKING_SHARE = 0.1


class TooSlowError(EngineError):
    """A contender that would take longer than a case allows."""


@dataclass(eq=False)
class Entry:
    """A contender, ready to run, and what is known of its time.

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
    """

    name: str
    images: int
    run: Run
    steps: int = 1
    calls: int = 1
    turns: int = 1
    seconds: list[float] = field(default_factory=list)

    def measure(self) -> float:
        """Seconds of one measurement."""
        start = time.perf_counter()
        for _ in range(self.calls):
            self.run(self.steps)
        return time.perf_counter() - start

    def wake(self) -> None:
        """Run a little, untimed: caches and threads are warm afterwards."""
        time.sleep(PAUSE)
        self.run(max(1, min(self.steps, int(self.steps * self.calls * WAKING_SHARE))))

    def microseconds(self) -> list[float]:
        """Cost per image-iteration, by turn."""
        return [1e6 * t / (self.images * self.steps * self.calls) for t in self.seconds]


def calibrate(entry: Entry, config: BenchConfig) -> None:
    """Warm a contender up and settle how long its measurements are.

    Raises
    ------
    TooSlowError
        If one measurement would take more than ``config.limit_seconds``.
    """
    entry.run(1)  # compiles, allocates, touches memory
    entry.steps = 1
    seconds = entry.measure()
    fewest = config.steps or FEWEST_STEPS
    _check_limit(entry, seconds * fewest, config)
    entry.steps = fewest
    seconds = entry.measure()
    while seconds < config.min_seconds:
        growth = min(1.2 * config.min_seconds / max(seconds, 1e-9), LARGEST_GROWTH)
        if config.steps is None:
            entry.steps = math.ceil(entry.steps * max(growth, 1.5))
        else:
            entry.calls = math.ceil(entry.calls * max(growth, 1.5))
        seconds = entry.measure()
    _check_limit(entry, seconds, config)
    affordable = max(FEWEST_TURNS, int(config.limit_seconds / seconds))
    entry.turns = min(config.repeats, affordable)


def _check_limit(entry: Entry, seconds: float, config: BenchConfig) -> None:
    if seconds > config.limit_seconds:
        raise TooSlowError(
            f"{entry.name}: one measurement takes about {seconds:.0f} s, more than limit_seconds "
            f"({config.limit_seconds:g})"
        )


def interleave(entries: list[Entry], seed: int, tick: Tick) -> dict[str, str]:
    """Measure all contenders in turns, in another order each turn.

    A contender that fails leaves the benchmark; the others go on.

    Returns
    -------
    dict of str to str
        Why a contender left, by its name.
    """
    failed: dict[str, str] = {}
    for turn in range(max((entry.turns for entry in entries), default=0)):
        order = [e for e in entries if turn < e.turns and e.name not in failed]
        random.Random(f"{seed}:{turn}").shuffle(order)
        for entry in order:
            try:
                entry.wake()
                entry.seconds.append(entry.measure())
            except EngineError as error:
                failed[entry.name] = str(error)
            tick()
    return failed
