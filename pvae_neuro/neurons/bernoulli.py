"""Bernoulli neurons: they fire with the probability ``sigmoid(u)``, and no division is needed.

A neuron fires where its position ``(w + 1/2) / 2**16`` lies below ``1 / (1 + e^-u)``, w being the
population's random word. Multiplied out, with the odd number ``o = 2 w + 1``::

    o e^-u < 2**17 - o

Below 0 the mirrored number ``2**17 - o`` stands for o and the answer is turned around, so that the
exponential never exceeds 1. Firing at u and at -u thus adds up to certainty, word for word. The
share of words that fire is within 1e-5 of the sigmoid: half a word is 7.6e-6, the rest is the
polynomial's.

Pixels compare with the sigmoid itself, by the reciprocal of ``1 + e^-|u|``: a quadratic, whose
relative error is at most 1/99 (its error is a Chebyshev polynomial), and two steps of Newton's.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import CertificateError
from pvae_neuro.network import Constant, Population, Sampler, Variable, shared
from pvae_neuro.network.interpreter import run_program
from pvae_neuro.network.operations import OPERATIONS
from pvae_neuro.network.program import Neuron, Value, trace
from pvae_neuro.network.sampler import LOWEST_POTENTIAL, WORD_BITS, WORDS
from pvae_neuro.neurons.exponential import exponential, exponential_constants
from pvae_neuro.neurons.node import message, predicted

# The exponential of what is not positive is shifted to the right alone, so it may be this fine.
_CHANCE_BITS, _SIGMOID_BITS = 22, 21
# Of products with the odd number, beyond its own unit.
_SPARE_BITS = 4
_POTENTIALS_PER_BLOCK = 1 << 13
# By d (210 - 144 d + 32 d^2) / 99 = 1 + T3(2 d - 3) / 99, T3 the third Chebyshev polynomial.
_RECIPROCAL = {"start": 210 / 99, "slope": 144 / 99, "curve": 32 / 99, "half": 0.5, "whole": 1.0}


def fire(n: Neuron) -> None:
    """Draw whether the neuron fires."""
    n.z = _fires(n, n.u, _odd(n))


def fire_and_compare(n: Neuron) -> None:
    """Draw of the potential and, by the same word, of what is predicted; send the difference."""
    odd = _odd(n)
    n.z = _fires(n, n.u, odd)
    n.t = predicted(n)
    n.e = n.z - _fires(n, n.t, odd)


def compare_pixels(n: Neuron) -> None:
    """Probability of a pixel, and graded spike of its error."""
    n.y = n.shr(_sigmoid(n, n.prediction + n.bias), n.y_shift)
    n.m = message(n, n.pixel - n.y)


def _odd(n: Neuron) -> Value:
    word = n.word()
    return word + word + 1


def _fires(n: Neuron, u: Value, odd: Value) -> Value:
    likely = u >= 0
    number = n.select(likely, odd, n.all - odd)
    rest = n.shl(n.all - number, n.spare)
    below = rest > n.mul(number, exponential(n, -abs(u)), n.chance_shift)
    return n.select(likely, below, 1 - below)


def _sigmoid(n: Neuron, u: Value) -> Value:
    u = n.clip(u, n.u_min, n.u_max)
    # Within these bounds the proof follows the two steps.
    total = n.whole + n.min(exponential(n, -abs(u)), n.whole)
    near = n.slope - n.mul(total, n.curve, n.unit)
    inverse = n.clip(n.start - n.mul(total, near, n.unit), n.half, n.whole)
    for _ in (1, 2):
        rest = n.whole + n.whole - n.mul(total, inverse, n.unit)
        inverse = n.mul(inverse, rest, n.unit)
    return n.select(u >= 0, inverse, n.whole - inverse)


def firing_constants(frac_bits: int | None) -> tuple[Constant, ...]:
    """Constants of neurons that fire.

    Parameters
    ----------
    frac_bits : int or None
        Fixed-point position of the potential; None for real numbers.
    """
    everything = 1 << WORD_BITS + 1
    if frac_bits is None:
        values = {"all": float(everything), "spare": 0.0, "chance_shift": 0.0}
        return (*_constants(values), *exponential_constants(0, 0))
    values = {"all": everything, "spare": _SPARE_BITS, "chance_shift": _CHANCE_BITS - _SPARE_BITS}
    return (*_constants(values), *exponential_constants(frac_bits, _CHANCE_BITS))


def sigmoid_constants(frac_bits: int | None, pixel_bits: int = 0) -> tuple[Constant, ...]:
    """Constants of the sigmoid of pixels.

    Parameters
    ----------
    frac_bits : int or None
        Fixed-point position of what is predicted; None for real numbers.
    pixel_bits : int
        That of pixels, at most 21.
    """
    if frac_bits is None:
        values = {**_RECIPROCAL, "unit": 0.0, "y_shift": 0.0}
        return (*_constants(values), *exponential_constants(0, 0))
    scaled = {name: round(value * 2**_SIGMOID_BITS) for name, value in _RECIPROCAL.items()}
    values = {**scaled, "unit": _SIGMOID_BITS, "y_shift": _SIGMOID_BITS - pixel_bits}
    return (*_constants(values), *exponential_constants(frac_bits, _SIGMOID_BITS))


def _constants(values: dict[str, int] | dict[str, float]) -> tuple[Constant, ...]:
    return tuple(Constant(name, shared(value)) for name, value in values.items())


def firing_words(population: Population, u: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many words let a neuron of each potential fire, [n]; the lower ones do."""
    formulas = {name: operation.integer for name, operation in OPERATIONS.items()}
    low, high = np.zeros(len(u), np.int64), np.full(len(u), WORDS)
    while (low < high).any():
        middle, open_ = (low + high) // 2, low < high
        word = np.minimum(middle, WORDS - 1)
        fires = run_program(population, FIRE, {"u": u}, formulas, {"word": lambda w=word: w})["z"]
        low = np.where(open_ & (fires == 1), middle + 1, low)
        high = np.where(open_ & (fires == 0), middle, high)
    return low


def total_variation(population: Population, low: int, high: int) -> float:
    """Largest distance of the share of firing words from the sigmoid, over a range of potentials.

    Beyond those that a sampler takes, both are within 1e-6 of certainty.

    Raises
    ------
    CertificateError
        If neurons differ in a constant of the rule, so that no potential stands for all.
    """
    names = {constant.name for constant in firing_constants(0)}
    constants = {c.name: np.unique(c.values) for c in population.constants if c.name in names}
    for name, values in constants.items():
        if len(values) != 1:
            raise CertificateError(
                f"{population.name}.{name}: expected one value for all neurons, for which the "
                f"distance of their draws from the sigmoid is counted, got {len(values)} values; "
                f"give neurons that differ a population each"
            )
    rule = tuple((name, int(values[0])) for name, values in constants.items())
    return _total_variation(rule, population.drawn_by.frac_bits, low, high)


@lru_cache(maxsize=64)
def _total_variation(rule: tuple[tuple[str, int], ...], bits: int, low: int, high: int) -> float:
    state = Variable("u", shared(0)), Variable("z", shared(0))
    cells = Population("cells", 1, state, _constants(dict(rule)), (FIRE,), Sampler(1, bits))
    lowest, largest = LOWEST_POTENTIAL << bits, 0.0
    low, high = max(low, lowest), min(high, -lowest)
    for first in range(low, high + 1, _POTENTIALS_PER_BLOCK):
        u = np.arange(first, min(first + _POTENTIALS_PER_BLOCK, high + 1))
        exact = 1.0 / (1.0 + np.exp(-u / 2.0**bits))
        share = firing_words(cells, u) / WORDS
        largest = max(largest, float(np.abs(share - exact).max()))
    return largest


FIRE = trace(fire)
FIRE_AND_COMPARE = trace(fire_and_compare, "fire")
COMPARE_PIXELS = trace(compare_pixels, "compare")
