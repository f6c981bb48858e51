"""What a benchmark found, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pvae_neuro.bench.config import BenchConfig
from pvae_neuro.bench.timing import Entry

SCHEMA_VERSION = 1


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

    @property
    def iqr(self) -> float:
        """Distance between the quartiles."""
        return self.q75 - self.q25


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


@dataclass(frozen=True)
class CaseResult:
    """All contenders in one case.

    Attributes
    ----------
    topology, model : str, str or None
    latents, pixels, batch, threads : int
    activity_target : float or None
        None where a model decides.
    activity : float
        Share of neurons that fire per iteration, measured.
    measurements : tuple of Measurement
    skipped : dict of str to str
        Why a contender has no figure in this case.
    """

    topology: str
    model: str | None
    latents: int
    pixels: int
    batch: int
    threads: int
    activity_target: float | None
    activity: float
    measurements: tuple[Measurement, ...]
    skipped: dict[str, str] = field(default_factory=dict)

    def measurement(self, engine: str) -> Measurement | None:
        """Figures of a contender; None if it was skipped."""
        return next((m for m in self.measurements if m.engine == engine), None)


@dataclass(frozen=True, eq=False)
class BenchResult:
    """A whole benchmark.

    Attributes
    ----------
    config : BenchConfig
    baseline : str
        Contender that ratios refer to.
    machine, versions : dict
        What the figures depend on.
    threads : dict
        Settings of each library, by number of threads.
    engines : dict of str to str
        What one iteration of each contender does.
    skipped : dict of str to str
        Contenders that cannot run here, and why.
    cases : tuple of CaseResult
    seconds : float
        Duration of it all.
    """

    config: BenchConfig
    baseline: str
    machine: dict[str, Any]
    versions: dict[str, str | None]
    threads: dict[str, Any]
    engines: dict[str, str]
    skipped: dict[str, str]
    cases: tuple[CaseResult, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "schema_version": SCHEMA_VERSION,
            "baseline": self.baseline,
            "machine": self.machine,
            "versions": self.versions,
            "threads": self.threads,
            "engines": self.engines,
            "skipped": self.skipped,
            "config": self.config.to_dict(),
            "seconds": self.seconds,
            "cases": [
                {**asdict(case), "measurements": [asdict(m) for m in case.measurements]}
                for case in self.cases
            ],
        }


def measurements(entries: Sequence[Entry], baseline: str) -> tuple[Measurement, ...]:
    """Summarize contenders that have been timed, each against the baseline turn by turn."""
    timed = [entry for entry in entries if entry.seconds]
    base = next((e.microseconds() for e in timed if e.name == baseline), None)
    found = []
    for entry in timed:
        mine = entry.microseconds()
        # Turn by turn: whatever slowed one turn slowed both.
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
