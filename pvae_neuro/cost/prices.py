"""Time and energy of counts by published coefficients, as bands; null where no source gives one.

``coefficients.json`` holds each coefficient with its source. Where sources differ the band goes
from the smallest to the largest. Nothing here was measured on a chip.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.cost.counts import Load

Floats = NDArray[np.float64]
FILE = Path(__file__).with_name("coefficients.json")
# Loihi 1 cannot run these programs: its constants are there for comparison.
CHIPS = {
    "loihi2": "Loihi 2",
    "loihi1": "Loihi 1 constants",
}
NO_SOURCE = "no source"


@dataclass(frozen=True)
class Coefficient:
    """A published number, in seconds, joules or watts.

    Attributes
    ----------
    chip, what, event : str
        ``what`` is time, energy or power.
    value : float
    source : str
    read_here : bool
        Whether the source itself was read for this table, and not what others quote of it.
    note : str
    """

    chip: str
    what: str
    event: str
    value: float
    source: str
    read_here: bool
    note: str


@cache
def coefficients() -> tuple[Coefficient, ...]:
    """All published numbers that are used."""
    return tuple(Coefficient(**row) for row in json.loads(FILE.read_text("utf-8")))


@dataclass(frozen=True)
class Band:
    """Smallest and largest value."""

    low: float
    high: float

    def __mul__(self, other: Band) -> Band:
        return Band(self.low * other.low, self.high * other.high)

    def to_dict(self) -> dict[str, float]:
        """Plain values, for JSON."""
        return {"low": self.low, "high": self.high}


def band(chip: str, what: str, event: str) -> Band | None:
    """Smallest and largest published value; None where no source gives one."""
    found = [c.value for c in coefficients() if (c.chip, c.what, c.event) == (chip, what, event)]
    return Band(min(found), max(found)) if found else None


@dataclass(eq=False)
class Clock:
    """Adds up the time of iterations, step by step: the busiest core of each step is waited for.

    The lower end takes the synapses and the neurons of a core to overlap in full, the upper end one
    after the other. Traffic between cores and input and output are left out.
    """

    loads: tuple[Load, ...]
    steps: int
    seconds: dict[str, list[Floats]] = field(default_factory=dict)

    def add(self, synops: NDArray[Any], updates: NDArray[Any], operations: NDArray[Any]) -> None:
        """Take rows of counts [R, loads]."""
        for chip in CHIPS:
            synop, update, barrier = (band(chip, "time", e) for e in ("synop", "update", "barrier"))
            if synop is None or update is None or barrier is None:
                continue
            operation = band(chip, "time", "operation")
            neurons = updates * update.high
            if operation is not None:
                neurons = np.maximum(neurons, operations * operation.high)
            low = self._busiest(np.maximum(synops * synop.low, updates * update.low))
            high = self._busiest(synops * synop.high + neurons)
            ends = low + self.steps * barrier.low, high + self.steps * barrier.high
            self.seconds.setdefault(chip, []).append(np.stack(ends, axis=1))

    def _busiest(self, seconds: Floats) -> Floats:
        """Sum over the steps of an iteration of the busiest core's time: [R]."""
        total = np.zeros(len(seconds))
        for step in {load.step for load in self.loads}:
            cores: dict[str, Floats] = {}
            for number, load in enumerate(self.loads):
                if load.step == step:
                    cores[load.core] = cores.get(load.core, 0.0) + seconds[:, number]
            total += np.max(list(cores.values()), axis=0)
        return total

    def band(self, chip: str) -> Band | None:
        """Mean time of an iteration, in seconds; None where no source gives it."""
        if chip not in self.seconds:
            return None
        low, high = np.concatenate(self.seconds[chip]).mean(axis=0)
        return Band(float(low), float(high))


def dynamic_energy(chip: str, counts: Mapping[str, float]) -> Band | None:
    """Energy of the events themselves, in joules; None where no source prices one of them.

    The lower end prices synapses of weight 0 at nothing.
    """
    events = {
        "synop": (counts["synops_nonzero"], counts["synops"]),
        "update": (counts["updates"],) * 2,
        "message": (counts["messages"],) * 2,
        "packet": (counts["packets"],) * 2,
    }
    total = Band(0.0, 0.0)
    for event, (least, most) in events.items():
        price = band(chip, "energy", event)
        if price is None:
            return None
        total = Band(total.low + least * price.low, total.high + most * price.high)
    return total


def prices(chip: str, time: Band | None, counts: Mapping[str, float]) -> dict[str, Any]:
    """Time and energy of an iteration on a chip, with what is missing as None, for JSON.

    Parameters
    ----------
    chip : str
    time : Band or None
        Seconds of an iteration.
    counts : mapping of str to float
        Means of an iteration.
    """
    power = band(chip, "power", "static")
    static = None if power is None or time is None else power * time
    dynamic = dynamic_energy(chip, counts)
    found: dict[str, Any] = {"title": CHIPS[chip]}
    for name, value in (
        ("seconds", time), ("dynamic_joules", dynamic), ("static_joules", static),
    ):  # fmt: skip
        found[name] = None if value is None else value.to_dict()
    used = [c for c in coefficients() if c.chip == chip]
    found["coefficients"] = [
        {name: value for name, value in vars(c).items() if name != "chip"} for c in used
    ]
    return found
