"""Widths and power-of-two scales."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import Choice
from pvae_neuro.network.population import WORD_MAX

SATURATED_FRACTION = 1 / 2000


@dataclass(frozen=True)
class Scales:
    """Widths and fixed-point positions that a lowering works with.

    Attributes
    ----------
    weight_bits : int
        Width of a mantissa, sign included.
    frac_bits : int
        Fixed-point position of the potential.
    input_frac_bits : int
        Fixed-point position of the input.
    max_count : int
        Largest spike count.
    choices : tuple of Choice
        Chosen so far.
    """

    weight_bits: int
    frac_bits: int
    input_frac_bits: int
    max_count: int
    choices: tuple[Choice, ...] = ()

    @property
    def mantissa_max(self) -> int:
        """Largest mantissa of a weight."""
        return (1 << (self.weight_bits - 1)) - 1

    @property
    def largest_leak(self) -> int:
        """Largest leak that leaves room for the rest of a potential change in 24 bits."""
        return WORD_MAX // 2


def fit_exponent(values: NDArray[np.float64], mantissa_max: int) -> int:
    """Smallest e such that every ``rint(value / 2**e)`` lies within the mantissa range."""
    largest = float(np.abs(values).max())
    if largest == 0.0:
        return 0
    exponent = int(np.floor(np.log2(largest / mantissa_max)))
    while np.rint(largest / 2.0**exponent) > mantissa_max:
        exponent += 1
    return exponent


def best_exponent(values: NDArray[np.float64], mantissa_max: int, least: int) -> int:
    """Finest exponent at which no more than ``SATURATED_FRACTION`` of the mantissas saturate.

    Trained weights are heavy-tailed: halving the unit for all is worth more than the few largest
    that then saturate, as long as they stay few (docs/decisions.md). ``least`` is the smallest
    exponent to consider.
    """
    exponent = max(least, fit_exponent(values, mantissa_max))
    allowed = SATURATED_FRACTION * values.size
    while exponent > least and saturated(values, exponent - 1, mantissa_max) <= allowed:
        if not values.any():
            break
        exponent -= 1
    return exponent


def mantissas(
    values: NDArray[np.float64], exponent: int, mantissa_max: int | None = None
) -> NDArray[np.float64]:
    """Round to mantissas of unit 2**exponent, half to even; saturate where a limit is given."""
    rounded: NDArray[np.float64] = np.rint(values / 2.0**exponent)
    return rounded if mantissa_max is None else np.clip(rounded, -mantissa_max, mantissa_max)


def saturated(values: NDArray[np.float64], exponent: int, mantissa_max: int) -> int:
    """How many mantissas saturate."""
    return int((np.abs(np.rint(values / 2.0**exponent)) > mantissa_max).sum())


def row_reach(weight: NDArray[np.integer[Any]]) -> int:
    """Largest sum of absolute mantissas of a row; times the largest message it is the reach."""
    return int(np.abs(weight.astype(np.int64)).sum(axis=1).max())
