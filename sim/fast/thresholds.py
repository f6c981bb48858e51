"""Tables that decide nearly every draw of ``network/sampler.py`` without running its rule.

A count is the number of thresholds that the neuron's word reaches: threshold z is how many of the
``2**16`` words give a count of at most z. The rule keeps its thresholds within :data:`DISTANCE`
words of ``2**16 F(z)``, F being Poisson's distribution function, for every potential that a network
may draw from; this was measured for all of them. So a table can be made from F alone.

Potentials are taken in rows of ``2**bits``. Within a row F is near a straight line: the second
derivative of F by the log-rate, ``rate p(z) (rate - 1 - z)``, is at most ``rate / 4 + 1 / 2``. A row
holds :data:`WINDOW` thresholds, from the most likely counts of its potentials on: their lower
bounds at the row's left end, and how far those fall until the right end. The exact threshold is at
most :attr:`Table.gap` above the line between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import sampler as rule

DISTANCE = {17: 3, 16: 6, 15: 19}
"""Largest distance of a threshold from Poisson's law, in words, by the position of the rate."""
WINDOW = 32
FIRST_ROWS = 64
LARGEST_WORD = rule.WORDS - 1


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
        The same for ``first``.
    first : uint16 [FIRST_ROWS]
        Lower bounds of the first threshold: a neuron whose word is below does not fire.
    """

    bits: int
    rows: NDArray[np.uint16]
    start: NDArray[np.int32]
    gap: int
    first_bits: int
    first: NDArray[np.uint16]


@lru_cache(maxsize=16)
def threshold_table(u_min: int, u_max: int, max_count: int, frac_bits: int) -> Table:
    """Table for potentials from ``u_min`` to ``u_max``."""
    q = rule.rate_bits(max_count)
    distance, span = DISTANCE[q], u_max - u_min
    # Long rows have few thresholds that words fall close to, short ones stay in the caches.
    bits = max(0, frac_bits - (7 if max_count <= 63 else 8))
    ends = u_min + (np.arange((span >> bits) + 2) << bits)
    rate = np.exp(ends / 2.0**frac_bits)
    law = rule.WORDS * rule.poisson_cdf(rate, max_count)
    above, below = _bends(law, rate, bits - frac_bits) if bits else np.zeros((2, *law[1:].shape))
    start = np.clip(rate[1:] - WINDOW / 2 + 2, 0, max(0, max_count - WINDOW)).astype(np.int32)
    which = start[:, None] + np.arange(WINDOW)
    inside = which < max_count
    which = np.minimum(which, max_count - 1)
    row = np.arange(len(start))[:, None]
    # Whole numbers: one word for the line's rounding.
    slack = distance + above[row, which] + 1
    left, right = law[row, which] - slack, law[row + (bits > 0), which] - slack
    gap = 2 * distance + above[row, which] + below[row, which] + 3
    # What would fall below zero is bounded by zero.
    positive = right >= 0
    gap = np.where(positive, gap, law[row, which] + distance)
    rows = np.empty((len(start), 2, WINDOW), np.uint16)
    rows[:, 0] = np.where(inside, np.where(positive, np.floor(left), 0), LARGEST_WORD)
    rows[:, 1] = np.where(inside & positive, np.floor(left) - np.floor(right), 0)
    widest = int(np.ceil(gap[inside].max()))
    windows = np.stack([start, start > 0], 1).astype(np.int32)
    first_bits = max(0, int(span).bit_length() - 6)
    ends = u_min + ((np.arange(FIRST_ROWS) + 1) << first_bits)
    rate = np.exp(np.minimum(ends, u_max) / 2.0**frac_bits)
    first = np.maximum(np.floor(rule.WORDS * np.exp(-rate) - distance), 0).astype(np.uint16)
    return Table(bits, rows, windows, np.full(WINDOW, widest, np.uint16), first_bits, first)


def _bends(
    law: NDArray[np.float64], rate: NDArray[np.float64], unit: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far a line lies above the law, and below it, at most: both [rows, thresholds]."""
    mass = np.diff(law, prepend=0.0, axis=1)
    second = mass * rate[:, None] * (rate[:, None] - 1 - np.arange(law.shape[1]))
    length = 2.0**unit
    more = rule.WORDS * (rate[1:] ** 1.5 + 1)[:, None] * length / 2
    top = np.maximum(np.maximum(second[:-1], second[1:]) + more, 0) * length**2 / 8
    bottom = np.maximum(np.maximum(-second[:-1], -second[1:]) + more, 0) * length**2 / 8
    return top, bottom
