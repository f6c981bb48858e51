"""Tables that decide nearly every draw of ``network/sampler.py`` without running its rule.

A count is the number of thresholds that the neuron's word reaches: threshold z is how many of the
``2**16`` words give a count of at most z. The rule keeps its thresholds within :data:`DISTANCE`
words of ``2**16 F(z)``, F being Poisson's distribution function, for every potential that a network
may draw from: ``benchmarks/sampler_distance.py`` tries them all. So a table is made from F alone.

Potentials are taken in rows of ``2**bits``, in which F is near a straight line. A row holds
:data:`WINDOW` thresholds, of the most likely counts of its potentials: lower bounds at the row's
left end, and how far they fall until its right end. The exact threshold is at most
:attr:`Table.gap` above the line between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import sampler as rule

DISTANCE = {17: 3, 16: 8, 15: 21}
"""Largest distance of a threshold from Poisson's law, in words, by the position of the rate."""
WINDOW = 32
FIRST_ROWS = 64
LARGEST_WORD = rule.WORDS - 1
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Table:
    """Bounds of thresholds for potentials from ``u_min`` on.

    Attributes
    ----------
    bits : int
        Binary logarithm of the potentials in a row.
    rows : uint16 [rows, 2, WINDOW]
        Lower bounds at the left end; how far they fall.
    start : int32 [rows, 2]
        Which threshold a row begins with; 1 if that is not the first one.
    gap : uint16 [WINDOW]
        How far the exact threshold can be above the line, the same for all.
    first_bits : int
        Binary logarithm of the potentials in a range of ``first``.
    first : uint16 [FIRST_ROWS]
        Lower bounds of the first threshold: a neuron whose word is below does not fire.
    """

    bits: int
    rows: NDArray[np.uint16]
    start: NDArray[np.int32]
    gap: NDArray[np.uint16]
    first_bits: int
    first: NDArray[np.uint16]


@lru_cache(maxsize=16)
def threshold_table(u_min: int, u_max: int, max_count: int, frac_bits: int) -> Table:
    """Table for potentials from ``u_min`` to ``u_max``."""
    # Long rows have few thresholds that words fall close to, short ones stay in the caches.
    bits = max(0, frac_bits - (7 if max_count <= 63 else 8))
    rate = _rates(u_min, bits, ((u_max - u_min) >> bits) + 2, frac_bits)
    start = np.clip(rate[1:] - WINDOW / 2 + 2, 0, max(0, max_count - WINDOW)).astype(np.int32)
    rows, gap = _lines(rate, start, max_count, 2.0 ** (bits - frac_bits) if bits else 0.0)
    first_bits = max(0, (u_max - u_min).bit_length() - FIRST_ROWS.bit_length() + 1)
    # A threshold is lowest at the right end of a range.
    lowest = np.exp(-_rates(u_min, first_bits, FIRST_ROWS + 1, frac_bits)[1:])
    first = np.floor(rule.WORDS * lowest - DISTANCE[rule.rate_bits(max_count)])
    return Table(
        bits,
        rows,
        np.stack([start, start > 0], 1).astype(np.int32),
        np.full(WINDOW, gap, np.uint16),
        first_bits,
        np.maximum(first, 0).astype(np.uint16),
    )


def _rates(u_min: int, bits: int, count: int, frac_bits: int) -> Floats:
    """Rates of so many potentials, ``2**bits`` apart."""
    return np.exp((u_min + (np.arange(count) << bits)) / 2.0**frac_bits)


def _lines(
    rate: Floats, start: NDArray[np.int32], max_count: int, length: float
) -> tuple[NDArray[np.uint16], int]:
    """Bounds at the left end of each row and how far they fall; the gap.

    ``length`` is that of a row in units of the log-rate; 0 for rows of one potential.
    """
    distance = DISTANCE[rule.rate_bits(max_count)]
    law = rule.WORDS * rule.poisson_cdf(rate, max_count)
    above, below = _bends(law, rate, length)
    row, which = np.arange(len(start))[:, None], start[:, None] + np.arange(WINDOW)
    inside = which < max_count
    which = np.minimum(which, max_count - 1)
    # Whole numbers: one word for the rounding of the line.
    slack = distance + above[row, which] + 1
    left, right = (np.floor(law[row + end, which] - slack) for end in (0, 1 if length > 0 else 0))
    gap = 2 * distance + above[row, which] + below[row, which] + 3
    # What would fall below zero is bounded by zero.
    positive = right >= 0
    gap = np.where(positive, gap, law[row, which] + distance)
    rows = np.empty((len(start), 2, WINDOW), np.uint16)
    rows[:, 0] = np.where(inside, np.where(positive, left, 0), LARGEST_WORD)
    rows[:, 1] = np.where(inside & positive, left - right, 0)
    return rows, int(np.ceil(gap[inside].max()))


def _bends(law: Floats, rate: Floats, length: float) -> tuple[Floats, Floats]:
    """How far the line of a row is above the law, and below it, at most: [rows, thresholds]."""
    mass, z = np.diff(law, prepend=0.0, axis=1), np.arange(law.shape[1])
    # Derivatives by the log-rate; the third one is at most rate**1.5 + 1.
    second = mass * rate[:, None] * (rate[:, None] - 1 - z)
    more = rule.WORDS * (rate[1:, None] ** 1.5 + 1) * length / 2
    above, below = (
        np.maximum(np.maximum(side[:-1], side[1:]) + more, 0) * length**2 / 8
        for side in (second, -second)
    )
    return above, below
