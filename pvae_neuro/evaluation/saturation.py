"""How many values of a run are at their limits, variable by variable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import IntegerNetwork
from pvae_neuro.network.limits import Limit, limits_of

# Above this share of a variable's values a network is warned of (docs/quantization.md).
MOST_SATURATED = 1e-3


@dataclass(frozen=True)
class Saturation:
    """Values of one variable at its limits.

    Attributes
    ----------
    variable : str
        ``population.variable``.
    limit : int
        The largest limit of all neurons.
    count, values : int
        How many values are at the limit of their neuron, and how many there are: samples times
        steps times neurons.
    is_log_rate : bool
        Whether neurons draw of the variable.
    """

    variable: str
    limit: int
    count: int
    values: int
    is_log_rate: bool = False

    @property
    def share(self) -> float:
        """Share of the values that are at a limit; 0 where there are none."""
        return self.count / self.values if self.values else 0.0

    @property
    def is_large(self) -> bool:
        """Whether the share is above what is accepted without a warning."""
        return self.share > MOST_SATURATED

    def __str__(self) -> str:
        return (
            f"{self.variable}: {self.count:,} of {self.values:,} values are at their limit "
            f"{self.limit:,}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "variable": self.variable,
            "limit": self.limit,
            "count": self.count,
            "values": self.values,
        }


class SaturationCount:
    """Counts values at their limits, block by block.

    Parameters
    ----------
    network : IntegerNetwork

    Attributes
    ----------
    variables : tuple of str
        Which variables have limits; what a run has to record.
    """

    def __init__(self, network: IntegerNetwork) -> None:
        self._limits: tuple[Limit, ...] = limits_of(network)
        self._counts = {limit.variable: np.zeros(2, np.int64) for limit in self._limits}
        self.variables = tuple(self._counts)

    def add(self, recorded: Mapping[str, NDArray[Any]]) -> None:
        """Add recorded values, int [N, T + 1, n] by variable; those not recorded are left out."""
        for limit in self._limits:
            values = recorded.get(limit.variable)
            if values is not None:
                self._counts[limit.variable] += limit.reached(values), values.size

    @property
    def counts(self) -> NDArray[np.int64]:
        """Of each variable with limits: values at a limit, and values, int64 [L, 2]."""
        return np.array([*self._counts.values()], np.int64).reshape(-1, 2)

    def add_counts(self, counts: NDArray[np.int64]) -> None:
        """Add :attr:`counts` of the same network."""
        for name, more in zip(self.variables, counts, strict=True):
            self._counts[name] += more

    @property
    def found(self) -> tuple[Saturation, ...]:
        """Counts of every variable that was recorded."""
        counts = ((limit, *self._counts[limit.variable].tolist()) for limit in self._limits)
        return tuple(
            Saturation(limit.variable, limit.largest, count, values, limit.is_log_rate)
            for limit, count, values in counts
            if values
        )


def remarks(found: Iterable[Saturation]) -> tuple[str, ...]:
    """A sentence for each graded spike or potential of which too many values are at a limit.

    Log-rates and log-odds are left out: what a bound of theirs costs shows in what is drawn.
    """
    return tuple(
        f"{each}, {100 * each.share:.2g} %: what lies beyond is lost; calibrate on images like "
        f"these"
        for each in found
        if each.is_large and not each.is_log_rate
    )
