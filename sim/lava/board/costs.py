"""Time and power, as the profilers of the board tell them; static and dynamic power apart."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

import numpy as np

PROFILERS = "lava.utils.loihi2_profiler"
POWER_STEPS = 10_000
"""Fewer Lava steps at a time give no power that could be told from the meter's noise."""


@dataclass(frozen=True)
class Costs:
    """Of a run of the network.

    Attributes
    ----------
    steps : int
        Lava steps of each of the two readings.
    static_watts : float or None
        Total power while the network is loaded, and silent.
    total_watts : float or None
        Total power while it runs.
    microseconds_per_step : float or None
    """

    steps: int
    static_watts: float | None
    total_watts: float | None
    microseconds_per_step: float | None

    @property
    def dynamic_watts(self) -> float | None:
        """Total without static power; may be negative where the meter's noise exceeds it."""
        if self.static_watts is None or self.total_watts is None:
            return None
        return self.total_watts - self.static_watts

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "dynamic_watts": self.dynamic_watts}


class Profilers:
    """Profilers of a run; none where the number of steps is 0.

    Parameters
    ----------
    steps : int
        Lava steps of a reading.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.callbacks: list[Any] = []
        if steps:
            found: Any = import_module(PROFILERS)
            self._power = found.Loihi2Power(num_steps=steps)
            self._time = found.Loihi2ExecutionTime(buffer_size=steps)
            self.callbacks = [self._power, self._time]

    def watts(self) -> float | None:
        """Mean total power of the run that ended last."""
        return _mean(self._power, "total_power")

    def microseconds(self) -> float | None:
        """Mean time of a step of the run that ended last."""
        return _mean(self._time, "avg_time_per_step")


def _mean(profiler: Any, name: str) -> float | None:
    """A figure of a profiler; None where it does not have it."""
    value = getattr(profiler, name, None)
    return None if value is None else float(np.mean(value))
