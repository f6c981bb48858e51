"""Widths and power-of-two scales."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.remedies import refused
from pvae_neuro.network import Choice
from pvae_neuro.network.connection import MANTISSA_BITS
from pvae_neuro.network.operations import LARGEST_SHIFT
from pvae_neuro.network.population import WORD_MAX
from pvae_neuro.utils.reproducible import power_below

SATURATED_FRACTION = 1 / 2000
LARGEST_MANTISSA = (1 << (MANTISSA_BITS - 1)) - 1
LEAST_EXPONENT = -LARGEST_SHIFT
LEAST_FRAC_BITS, MOST_FRAC_BITS = 4, 16
FACTOR_BITS = 16
HEADROOM = 1.25  # Of graded spikes, over what calibration reached.
# A rounded shift adds half a unit of its result first; the proof shows that it fits.
LARGEST_SUM = WORD_MAX - (1 << 14)


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
    message_bits : mapping of str to int
        Widths of graded spikes, sign included, by the ``population.variable`` that is sent; as wide
        as can be proved where there is none.
    latent_units : bool
        Whether the weights of each latent have a power of two of their own.
    compensate : bool
        Whether weights are rounded together, so that their errors cancel.
    exponent_steps : mapping of str to int
        How far the exponent of a connection is from what the rule says, by its name.
    """

    weight_bits: int
    frac_bits: int
    input_frac_bits: int
    max_count: int
    choices: tuple[Choice, ...] = ()
    message_bits: Mapping[str, int] = field(default_factory=dict)
    latent_units: bool = False
    compensate: bool = False
    exponent_steps: Mapping[str, int] = field(default_factory=dict)

    def message_limit(self, sent: str, provable: int) -> int:
        """Largest magnitude of a graded spike: what can be proved, and what its width holds."""
        bits = self.message_bits.get(sent)
        return provable if bits is None else min(provable, (1 << (bits - 1)) - 1)

    @property
    def fine_bits(self) -> int:
        """Bits of a weight below those of one mantissa of a synapse."""
        return max(0, self.weight_bits - MANTISSA_BITS)

    @property
    def mantissa_max(self) -> int:
        """Largest mantissa of a weight; of two synapses together where it is wider than one."""
        one = min(self.weight_bits, MANTISSA_BITS)
        fine = min((1 << self.fine_bits) >> 1, LARGEST_MANTISSA)
        return ((1 << (one - 1)) - 1 << self.fine_bits) + fine

    def exponent(self, connection: str, values: NDArray[np.float64], least: int) -> int:
        """Exponent of a connection's weights, by the rule of their width or a search around it.

        Beyond 8 bits a unit is so fine that saturated weights are the larger error.
        """
        if self.fine_bits:
            found = int(column_exponents(values.reshape(-1, 1), self.mantissa_max, least)[0])
        else:
            found = best_exponent(values, self.mantissa_max, least)
        return max(least, found + self.exponent_steps.get(connection, 0))

    def exponent_reason(self, values: NDArray[np.float64], exponent: int, which: str) -> str:
        """Why :meth:`exponent` chose what it did for weights; ``which`` ones these are."""
        count = saturated(values, exponent, self.mantissa_max)
        unit = f"unit of {self.weight_bits} bits"
        if self.fine_bits:
            rule = f"{unit} with the least squared error"
        else:
            rule = f"finest {unit} with few saturated"
        return f"{rule}, for {which}; {count} saturate"

    @property
    def spare_frac_bits(self) -> int:
        """How many fewer fractional bits the potential could have."""
        return self.frac_bits - LEAST_FRAC_BITS


class Sent(NamedTuple):
    """What a neuron sends: its largest magnitude, in integers, and its fixed-point position."""

    limit: int
    bits: int = 0


def graded(
    name: str,
    provable: int,
    largest: float,
    scales: Scales,
    finest: int,
    headroom: float = HEADROOM,
) -> Sent:
    """Limit and unit of a graded spike.

    The limit is the largest that can be proved and that its width holds; the unit is the finest, at
    most 2**-finest, in which what calibration reached, with headroom, lies below it.
    """
    limit = scales.message_limit(name, provable)
    fine = power_below(limit, headroom * largest) if largest > 0.0 else finest
    return Sent(limit, min(finest, fine))


def fit_exponent(values: NDArray[np.float64], mantissa_max: int) -> int:
    """Smallest e such that every ``rint(value / 2**e)`` lies within the mantissa range."""
    largest = float(np.abs(values).max())
    if largest == 0.0:
        return 0
    exponent = math.floor(math.log2(largest) - math.log2(mantissa_max))
    # The logarithms are rounded: the smallest exponent may be one off either way.
    while _rounded(largest, exponent - 1) <= mantissa_max:
        exponent -= 1
    while _rounded(largest, exponent) > mantissa_max:
        exponent += 1
    return exponent


def _rounded(value: float, exponent: int) -> int:
    return round(math.ldexp(value, -exponent))


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


def column_exponents(
    values: NDArray[np.float64], mantissa_max: int, least: int
) -> NDArray[np.int64]:
    """Exponent of each column at which its squared rounding error is least.

    Of equal ones the coarsest, so that a column of exact mantissas keeps them. A column of zeros
    takes the finest exponent of the others.
    """
    live = np.abs(values).max(axis=0) > 0.0
    found = np.full(values.shape[1], least)
    for place in np.flatnonzero(live):
        column = values[:, place]
        # A unit finer by three bits would saturate all but an eighth of the range.
        coarsest = max(least, fit_exponent(column, mantissa_max))
        candidates = range(coarsest, max(least, coarsest - 3) - 1, -1)
        errors = [_squared_error(column, exponent, mantissa_max) for exponent in candidates]
        found[place] = candidates[int(np.argmin(errors))]
    return np.where(live, found, found.min(where=live, initial=0) if live.any() else least)


def _squared_error(values: NDArray[np.float64], exponent: int, mantissa_max: int) -> float:
    error = np.ldexp(mantissas(values, exponent, mantissa_max), exponent) - values
    return float(np.square(error).sum())


def mantissas(
    values: NDArray[np.float64], exponent: int, mantissa_max: int | None = None
) -> NDArray[np.float64]:
    """Round to mantissas of unit 2**exponent, half to even; saturate where a limit is given."""
    with np.errstate(over="ignore"):
        rounded: NDArray[np.float64] = np.rint(np.ldexp(values, -exponent))
    return rounded if mantissa_max is None else np.clip(rounded, -mantissa_max, mantissa_max)


def halves(
    mantissa: NDArray[np.floating[Any]], fine_bits: int
) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Two mantissas of a synapse each: ``coarse * 2**fine_bits + fine``.

    With 8 fine bits a rest of 128 is one unit more than a mantissa holds, and loses it.
    """
    coarse = np.clip(np.rint(np.ldexp(mantissa, -fine_bits)), -LARGEST_MANTISSA, LARGEST_MANTISSA)
    rest = mantissa - np.ldexp(coarse, fine_bits)
    fine = np.clip(rest, -LARGEST_MANTISSA, LARGEST_MANTISSA)
    return coarse.astype(np.int8), fine.astype(np.int8)


def rounded_weights(weight: NDArray[np.float64], scales: Scales) -> tuple[int, NDArray[np.int8]]:
    """Exponent by :func:`best_exponent`, and mantissas."""
    exponent = best_exponent(weight, scales.mantissa_max, LEAST_EXPONENT)
    return exponent, mantissas(weight, exponent, scales.mantissa_max).astype(np.int8)


def saturated(values: NDArray[np.float64], exponent: int, mantissa_max: int) -> int:
    """How many mantissas saturate."""
    return int((np.abs(mantissas(values, exponent)) > mantissa_max).sum())


def few_saturated(values: NDArray[np.float64], exponent: int, scales: Scales) -> str:
    """Why an exponent of :func:`best_exponent` was chosen, with the mantissas that it costs."""
    count = saturated(values, exponent, scales.mantissa_max)
    return f"finest unit of {scales.weight_bits} bits with few saturated; {count} saturate"


def fixed_point(value: float, what: str) -> tuple[int, int]:
    """Mantissa and right shift of a factor that is not negative: ``mantissa / 2**shift``.

    The shift is the largest that keeps the mantissa within ``FACTOR_BITS`` bits.

    Raises
    ------
    CertificateError
        If no shift of a word does; names ``what`` it is.
    """
    held = np.array([value])
    shift = min(LARGEST_SHIFT, -fit_exponent(held, (1 << (FACTOR_BITS - 1)) - 1))
    check_exponent(shift, what)
    return int(mantissas(held, -shift)[0]), shift


def words(
    values: NDArray[np.float64], what: str, largest: int = WORD_MAX, *, fewer_bits: int = 0
) -> NDArray[np.int32]:
    """Rounded numbers as integers of 32 bits.

    Raises
    ------
    CertificateError
        If one of them exceeds ``largest``; names ``what`` it is. A narrower choice of scales is
        proposed only where one with ``fewer_bits`` after the point would fit.
    """
    reach = float(np.abs(values).max())
    if not reach <= largest:  # Not-a-number fits nothing either.
        remedy = "narrower" if reach <= math.ldexp(largest, fewer_bits) else "weights"
        raise refused(f"{what}: reaches {reach:.4g}, expected at most {largest}", remedy)
    return values.astype(np.int32)


def check_exponent(exponent: int, what: str, largest: int = LARGEST_SHIFT) -> int:
    """Return an exponent or a shift that lies within ``+-largest``.

    Raises
    ------
    CertificateError
        If it does not; names ``what`` it is.
    """
    if abs(exponent) > largest:
        raise refused(
            f"{what}: a power of two of {exponent} is needed, expected -{largest} to {largest}; "
            f"the model's numbers are too far apart",
            "weights",
        )
    return exponent


def row_reach(weight: NDArray[np.integer[Any]]) -> int:
    """Largest sum of absolute mantissas of a row; times the largest message it is the reach."""
    return int(np.abs(weight.astype(np.int64)).sum(axis=1).max())
