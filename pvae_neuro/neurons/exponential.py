"""The exponential as word operations: ``rate = exp(p)``, by the sampler's polynomial for 2^f.

With p in units of 2**-frac_bits, and ``mul`` and ``shr`` rounded::

    t = mul(p, LOG2_E, frac_bits + 6)        log2 of the rate, unit 2**-16
    f = t & 65535,  i = (t - f) >> 16
    rate = shr(exp2(f), 22 - rate_bits - i)  unit 2**-rate_bits

For p in -16 .. 8 the relative error before the last shift is at most 1e-5, from half a unit of t
and from the polynomial; the shift adds half a unit of the rate. In real numbers it is ``exp(p)``.
"""

from __future__ import annotations

from pvae_neuro.network import Constant, shared
from pvae_neuro.network.operations import LARGEST_SHIFT
from pvae_neuro.network.program import Neuron, Value
from pvae_neuro.network.sampler import EXP2_COEFFICIENTS, LOG2_E, WORD_BITS

MOST_RATE_BITS = 16
"""Finest unit of a rate, so that no shift is to the left by more than a word."""
_COEFFICIENTS = ("exp2_4", "exp2_3", "exp2_2", "exp2_1", "exp2_0")


def exponential(n: Neuron, log_rate: Value) -> Value:
    """Append ``exp(log_rate)``; the population needs :func:`exponential_constants`."""

    def build() -> Value:
        log2 = n.mul(log_rate, n.log2_e, n.log2_shift)
        fraction = log2 & n.fraction
        whole = n.shr(log2 - fraction, n.fraction_bits)
        first, *others = (getattr(n, name) for name in _COEFFICIENTS)
        power = first
        for coefficient in others:
            power = n.mul(power, fraction, n.fraction_bits) + coefficient
        # Beyond the widest shift nothing is left of the rate.
        return n.shr(power, n.min(n.rate_shift - whole, n.widest_shift))

    return n.composite("exp", log_rate, build=build)


def exponential_constants(frac_bits: int, rate_bits: int) -> tuple[Constant, ...]:
    """Constants of :func:`exponential`; a float circuit has them too, and computes without them.

    Parameters
    ----------
    frac_bits : int
        Fixed-point position of the log-rate.
    rate_bits : int
        That of the rate, at most ``MOST_RATE_BITS``; at most 22 where no log-rate is above 0, so
        that nothing is shifted to the left.
    """
    values = {
        "log2_e": LOG2_E,
        "log2_shift": frac_bits + 6,
        "fraction": (1 << WORD_BITS) - 1,
        "fraction_bits": WORD_BITS,
        **dict(zip(_COEFFICIENTS, EXP2_COEFFICIENTS, strict=True)),
        "rate_shift": 22 - rate_bits,
        "widest_shift": LARGEST_SHIFT,
    }
    return tuple(Constant(name, shared(value)) for name, value in values.items())
