"""Poisson counts by fixed-point inversion: one potential and one 16-bit word give one count.

The rule uses shifts, adds, compares and products alone; registers stay within 24 bits and products
within 47, signs included, for a largest count of 63. It is monotone in the word, so integers and
floats that share a word share its meaning: the word is the position in the distribution function.

With ``mul(a, b, s) = (a * b + 2**(s-1)) >> s``, a potential u of unit 2**-frac_bits, a word w, a
largest count below 2**(6+k), and q = 17 - k (the rate is held in units of 2**-q)::

    1. t = mul(u, LOG2_E, frac_bits + 6)       log2 of the rate, unit 2**-16
       f = t & 65535,  i = (t - f) >> 16
    2. if i < -1 and w < 65535 - 2**(17+i)     (65534 where 17 + i < 0):          count 0
    3. m = exp2(f)                             2**f, unit 2**-22
       r = m >> (22 - q - i), rounded          the rate, unit 2**-q
       if i < 0 and w < 65534 - (r >> (q - 16)):                                  count 0
                                               (r << (16 - q) where q < 16)
    4. x = mul(r, LOG2_E, q + 6)               log2 of 1 / P(0), unit 2**-16
       P * 2**-S = 2**-x                       probability of count 0, unit 2**-22;  C = 0
    5. for z = 0 .. max_count:
           C += P >> S, rounded                distribution function
           if w < (C + 32) >> 6, or z = max_count, or P = 0:                     count z
           P <- P * mul(r, inverse(z + 1), 22) >> q, rounded from the product; while the result is
                at least 2**22 and S > 0: shift by one more, S <- S - 1

``inverse(n) = round(2**22 / n)``. Steps 2 and 3 are early exits that never contradict step 5.
:func:`cumulative` counts the words of every count, so that the distribution is known exactly.
"""

from __future__ import annotations

from functools import lru_cache
from math import exp, lgamma
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

WORD_BITS = 16
WORDS = 1 << WORD_BITS
# Potentials for which every shift of the rule lies within 0 .. 31, in units of the potential.
LOWEST_POTENTIAL = -16
# Beyond 255 the distance from Poisson exceeds 1e-3.
LARGEST_MAX_COUNT = 255
# Largest probability of counts above the largest one: it limits the potential.
MAX_TAIL = 1e-4

# log2(e), unit 2**-22.
LOG2_E = 6051102
# 2**f for f in [0, 1), unit 2**-22, by Horner's rule: coefficients of f**4 to f**0.
EXP2_COEFFICIENTS = (56766, 218152, 1012684, 2906669, 4194315)
ONE = 1 << 22


def rate_bits(max_count: int) -> int:
    """Fixed-point position q of the rate: 17, less one for each bit of the count above six."""
    return 17 - max(0, max_count.bit_length() - 6)


def mul(a: Any, b: Any, shift: int) -> Any:
    """``(a * b + 2**(shift-1)) >> shift``: a rounded fixed-point product."""
    return (a * b + ((1 << shift) >> 1)) >> shift


def exp2(fraction: Any) -> Any:
    """``2**f`` in units of 2**-22 for a fraction f in units of 2**-16."""
    value = EXP2_COEFFICIENTS[0]
    for coefficient in EXP2_COEFFICIENTS[1:]:
        value = mul(value, fraction, WORD_BITS) + coefficient
    return value


def inverse(number: int) -> int:
    """``round(2**22 / number)``."""
    return (2 * ONE + number) // (2 * number)


def sample_counts(
    potential: NDArray[np.integer[Any]],
    word: NDArray[np.integer[Any]],
    max_count: int,
    frac_bits: int,
) -> Ints:
    """Draw counts by the rule above, step by step.

    Parameters
    ----------
    potential : int [...]
        Log-rate, unit 2**-frac_bits.
    word : int [...]
        Uniform words in [0, 2**16), same shape.
    max_count, frac_bits : int

    Returns
    -------
    int64 [...]
        Counts in [0, max_count].
    """
    u, w = np.broadcast_arrays(np.asarray(potential, np.int64), np.asarray(word, np.int64))
    counts = np.zeros(u.shape, np.int64)
    q = rate_bits(max_count)
    f, i = _split(u, frac_bits)
    early = (i < -1) & (w < _first_exit(i))
    r = _rate(f, i, q)
    early |= (i < 0) & (w < 65534 - _in_words(r, q))
    # From here on only the neurons that have not left.
    index = np.flatnonzero(~early)
    r, w = r.ravel()[index], w.ravel()[index]
    p, s = _first_probability(r, q)
    c = np.zeros(len(index), np.int64)
    flat = counts.reshape(-1)
    for z in range(max_count + 1):
        c = c + _rounded(p, s)
        done = (w < (c + 32) >> 6) | (p == 0) | (z == max_count)
        flat[index[done]] = z
        more = ~done
        index, r, w, c, p, s = (v[more] for v in (index, r, w, c, p, s))
        if not len(index):
            break
        p, s = _next_probability(p, s, r, z, q)
    return counts


def _split(u: Ints, frac_bits: int) -> tuple[Ints, Ints]:
    t = mul(u, LOG2_E, frac_bits + 6)
    f = t & (WORDS - 1)
    return f, (t - f) >> WORD_BITS


def _first_exit(i: Ints) -> Ints:
    return np.where(17 + i < 0, 65534, 65535 - (np.int64(1) << np.clip(17 + i, 0, 31)))


def _rounded(value: Ints, shift: Ints) -> Ints:
    shift = np.minimum(shift, 62)  # Of a word of 48 bits nothing is left long before.
    return (value + ((np.int64(1) << shift) >> 1)) >> shift


def _rate(f: Ints, i: Ints, q: int) -> Ints:
    return _rounded(exp2(f), 22 - q - i)


def _in_words(r: Ints, q: int) -> Ints:
    """The rate in units of 2**-16, rounded down."""
    return r >> (q - WORD_BITS) if q >= WORD_BITS else r << (WORD_BITS - q)


def _first_probability(r: Ints, q: int) -> tuple[Ints, Ints]:
    x = mul(r, LOG2_E, q + 6)
    fraction = -x & (WORDS - 1)
    return exp2(fraction), (x + fraction) >> WORD_BITS


def _next_probability(p: Ints, s: Ints, r: Ints, z: int, q: int) -> tuple[Ints, Ints]:
    product = p * mul(r, inverse(z + 1), 22)
    shift = np.full(p.shape, q, np.int64)
    while True:
        p = _rounded(product, shift)
        again = (p >= ONE) & (s > 0)
        if not again.any():
            return p, s
        shift, s = shift + again, s - again


def cumulative(
    potential: NDArray[np.integer[Any]], max_count: int, frac_bits: int
) -> NDArray[np.int32]:
    """How many of the 2**16 words give a count of at most z, for each potential and z.

    Because the rule is monotone in the word, these numbers are the sampler: a count is the number
    of z with ``word >= cumulative[z]``. Any engine may draw by them.

    Parameters
    ----------
    potential : int [n]
    max_count, frac_bits : int

    Returns
    -------
    int32 [n, max_count + 1]
        Does not decrease along a row; the last one is 2**16.
    """
    u = np.asarray(potential, np.int64)
    q = rate_bits(max_count)
    f, i = _split(u, frac_bits)
    r = _rate(f, i, q)
    exits = np.maximum(
        np.where(i < -1, _first_exit(i), 0), np.where(i < 0, 65534 - _in_words(r, q), 0)
    )
    p, s = _first_probability(r, q)
    c = np.zeros(len(u), np.int64)
    out = np.full((len(u), max_count + 1), WORDS, np.int32)
    index = np.arange(len(u))
    below = exits
    for z in range(max_count):
        c = c + _rounded(p, s)
        ended = p == 0
        below = np.where(ended, WORDS, np.clip(np.maximum(below, (c + 32) >> 6), 0, WORDS))
        out[index, z] = below
        more = below < WORDS
        index, r, c, p, s, below = (v[more] for v in (index, r, c, p, s, below))
        if not len(index):
            break
        p, s = _next_probability(p, s, r, z, q)
    return out


_POTENTIALS_PER_BLOCK = 1 << 13


@lru_cache(maxsize=64)
def total_variation(u_min: int, u_max: int, max_count: int, frac_bits: int) -> float:
    """Largest exact distance from the Poisson law over all potentials of a range.

    Total variation, against the law whose tail above ``max_count`` is gathered at ``max_count``.
    """
    largest = 0.0
    for first in range(u_min, u_max + 1, _POTENTIALS_PER_BLOCK):
        u = np.arange(first, min(first + _POTENTIALS_PER_BLOCK, u_max + 1))
        exact = poisson_cdf(np.exp(u / 2.0**frac_bits), max_count + 1)
        exact[:, -1] = 1.0
        drawn = cumulative(u, max_count, frac_bits) / WORDS
        difference = np.diff(drawn, prepend=0.0, axis=1) - np.diff(exact, prepend=0.0, axis=1)
        largest = max(largest, float(np.abs(difference).sum(axis=1).max()) / 2)
    return largest


def tail(u_max: int, max_count: int, frac_bits: int) -> float:
    """Probability that a Poisson count exceeds ``max_count`` at the largest potential."""
    return _tail(exp(u_max / 2.0**frac_bits), max_count)


@lru_cache(maxsize=64)
def largest_potential(max_count: int, frac_bits: int) -> int:
    """Largest potential, unit 2**-frac_bits, whose tail above ``max_count`` is within MAX_TAIL."""
    low, high = LOWEST_POTENTIAL << frac_bits, 8 << frac_bits
    while high - low > 1:
        middle = (low + high) // 2
        inside = _tail(exp(middle / 2.0**frac_bits), max_count) <= MAX_TAIL
        low, high = (middle, high) if inside else (low, middle)
    return low


def poisson_cdf(rate: NDArray[np.float64], counts: int) -> NDArray[np.float64]:
    """Poisson distribution function: ``P(Z <= k)`` for k in 0 .. counts - 1.

    Parameters
    ----------
    rate : float64 [n]
    counts : int

    Returns
    -------
    float64 [n, counts]
    """
    log_factorial = np.array([lgamma(k + 1.0) for k in range(counts)])
    with np.errstate(divide="ignore", invalid="ignore"):
        log_mass = np.log(rate)[:, None] * np.arange(counts) - rate[:, None] - log_factorial
    cdf: NDArray[np.float64] = np.minimum(np.cumsum(np.exp(log_mass), axis=1), 1.0)
    return cdf


def _tail(rate: float, max_count: int) -> float:
    """``P(Z > max_count)``, summed from its first term, so that small tails stay exact."""
    if rate >= max_count + 1:
        return 1.0  # No use for the exact value: it is above one half.
    term = exp((max_count + 1) * np.log(rate) - rate - lgamma(max_count + 2.0))
    total, k = 0.0, max_count + 1
    while term > 1e-30 and k < max_count + 2000:
        total += term
        k += 1
        term *= rate / k
    return min(1.0, total)
