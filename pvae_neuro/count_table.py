"""Threshold table that turns a membrane potential and one random word into a Poisson count.

The circuit is one add, one shift, and compares::

    row   = (u - u_min + ((word & (2**dither_bits - 1)) << (row_bits - dither_bits))) >> row_bits
    count = number of k with word > threshold[row, k]

``threshold[row]`` holds the Poisson distribution function at the row's rate, in steps of 2**-16.
The low bits of the word choose between two neighbouring rows, so that the distribution at a
potential between two rows is (up to one part in 2**16 / 2**dither_bits) the linear interpolation
of both: no multiplier is needed. The distribution that results is not estimated but counted, word
by word, for every potential: :meth:`CountTable.distribution`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import exp, lgamma
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import CertificateError, InputError

WORD_BITS = 16
WORDS = 1 << WORD_BITS
MAX_TOTAL_VARIATION = 1e-3
# Share of the budget that the tail above the largest count may take: it fixes the largest rate.
TAIL = 2e-4
# Target of the table search; the rest of the budget is a reserve for potentials between probes.
SEARCH_VARIATION = 9e-4
MAX_TABLE_BYTES = 1 << 20
_POTENTIALS_PER_BLOCK = 1 << 12


@dataclass(frozen=True, eq=False)
class CountTable:
    """Inverse distribution function of Poisson(exp(u)) over a range of integer potentials.

    Attributes
    ----------
    threshold : uint16 [rows, max_count]
        Non-decreasing along each row; a word above ``threshold[row, k]`` makes the count exceed k.
    u_min, u_max : int
        Range of the potential that the table covers, in units of 2**-frac_bits.
    frac_bits : int
        Fixed-point position of the potential.
    row_bits : int
        log2 of the distance between two rows, in units of the potential.
    dither_bits : int
        How many low bits of the word choose between neighbouring rows (<= row_bits).
    """

    threshold: NDArray[np.uint16]
    u_min: int
    u_max: int
    frac_bits: int
    row_bits: int
    dither_bits: int

    @property
    def max_count(self) -> int:
        """Largest count that can come out; the distribution's tail is gathered there."""
        return int(self.threshold.shape[1])

    @property
    def size_bytes(self) -> int:
        """Memory of the thresholds."""
        return int(self.threshold.nbytes)

    def distribution(self, potential: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Exact probability of each count, by counting words.

        Parameters
        ----------
        potential : int [n]
            Potentials in [u_min, u_max], units of 2**-frac_bits.

        Returns
        -------
        float64 [n, max_count + 1]
            Number of words that give each count, divided by 2**16.
        """
        below = _words_not_above(self, np.asarray(potential, dtype=np.int64))
        cumulative = np.concatenate(
            [np.zeros((len(below), 1)), below, np.full((len(below), 1), WORDS)], axis=1
        )
        return np.diff(cumulative, axis=1) / WORDS

    def total_variation(
        self, potential: NDArray[np.integer[Any]] | None = None
    ) -> NDArray[np.float64]:
        """Exact total variation distance from Poisson(exp(u)), per potential.

        Parameters
        ----------
        potential : int [n], optional
            Units of 2**-frac_bits; every potential of the range by default.

        Returns
        -------
        float64 [n]
        """
        if potential is None:
            potential = np.arange(self.u_min, self.u_max + 1)
        blocks = np.array_split(potential, max(1, len(potential) // _POTENTIALS_PER_BLOCK))
        return np.concatenate([self._variation(block) for block in blocks])

    def _variation(self, potential: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        rate = np.exp(potential / 2.0**self.frac_bits)
        exact = poisson_cdf(rate, self.max_count + 1)
        mass = np.diff(exact, axis=1, prepend=0.0)
        beyond = 1.0 - exact[:, -1]
        difference = np.abs(self.distribution(potential) - mass).sum(axis=1)
        return (difference + beyond) / 2


def poisson_cdf(rate: NDArray[np.float64], counts: int) -> NDArray[np.float64]:
    """P(Poisson(rate) <= k) for k = 0 .. counts - 1.

    Parameters
    ----------
    rate : float64 [n]
        Positive rates.
    counts : int
        Number of columns.

    Returns
    -------
    float64 [n, counts]
    """
    k = np.arange(counts)
    log_factorial = np.array([lgamma(i + 1.0) for i in k])
    mass = np.exp(k * np.log(rate)[:, None] - rate[:, None] - log_factorial)
    return np.minimum(np.cumsum(mass, axis=1), 1.0)


def largest_potential(max_count: int, frac_bits: int) -> int:
    """Largest potential whose Poisson tail above ``max_count`` is at most ``TAIL``.

    Returns
    -------
    int
        Units of 2**-frac_bits, rounded down.
    """
    low, high = -20.0, float(np.log(max_count + 1.0))
    for _ in range(60):
        middle = (low + high) / 2
        tail = 1.0 - poisson_cdf(np.array([exp(middle)]), max_count + 1)[0, -1]
        low, high = (middle, high) if tail <= TAIL else (low, middle)
    return int(np.floor(low * 2**frac_bits))


@lru_cache(maxsize=16)
def build_count_table(frac_bits: int, u_min: int, u_max: int, max_count: int) -> CountTable:
    """Build the smallest table within the total variation budget.

    Parameters
    ----------
    frac_bits : int
        Fixed-point position of the potential, 4 to 16.
    u_min, u_max : int
        Range of the potential, units of 2**-frac_bits.
    max_count : int
        Largest count, at least 1.

    Returns
    -------
    CountTable

    Raises
    ------
    InputError
        If the range is empty.
    CertificateError
        If no table of at most ``MAX_TABLE_BYTES`` meets the budget; names the remedy.
    """
    if u_min >= u_max:
        raise InputError(
            f"count table: expected u_min < u_max, got {u_min} and {u_max}; raise max_count, "
            f"which bounds the largest rate"
        )
    for row_bits in range(frac_bits, -1, -1):
        if _rows(u_min, u_max, row_bits) * max_count * 2 > MAX_TABLE_BYTES:
            break
        for dither_bits in range(min(row_bits, 7), -1, -1):
            table = _table(frac_bits, u_min, u_max, max_count, row_bits, dither_bits)
            if _probe(table) <= SEARCH_VARIATION and _worst(table) <= MAX_TOTAL_VARIATION:
                return table
    raise CertificateError(
        f"count table: no table of at most {MAX_TABLE_BYTES} bytes keeps the counts up to "
        f"{max_count} within total variation {MAX_TOTAL_VARIATION} of Poisson; lower max_count"
    )


def _rows(u_min: int, u_max: int, row_bits: int) -> int:
    return ((u_max - u_min + (1 << row_bits) - 1) >> row_bits) + 1


def _table(
    frac_bits: int, u_min: int, u_max: int, max_count: int, row_bits: int, dither_bits: int
) -> CountTable:
    step = 1 << row_bits
    unit = 1 << (row_bits - dither_bits)
    # Without its dropped low bits a potential lies half a unit higher than it reads.
    offset = (unit - 1) / 2
    nodes = u_min + step * np.arange(_rows(u_min, u_max, row_bits)) + offset
    exact = poisson_cdf(np.exp(nodes / 2.0**frac_bits), max_count)
    threshold = np.clip(np.rint(exact * WORDS) - 1, 0, WORDS - 1).astype(np.uint16)
    threshold.flags.writeable = False
    return CountTable(threshold, u_min, u_max, frac_bits, row_bits, dither_bits)


def _probe(table: CountTable) -> float:
    """Total variation on a few thousand potentials: enough to reject most candidates."""
    potential = np.unique(np.linspace(table.u_min, table.u_max, 2003).astype(np.int64))
    return float(table.total_variation(potential).max())


def _worst(table: CountTable) -> float:
    return float(table.total_variation().max())


def _words_not_above(table: CountTable, potential: NDArray[np.int64]) -> NDArray[np.float64]:
    """How many words stay at or below each threshold: [n, max_count]."""
    offset = potential - table.u_min
    row = offset >> table.row_bits
    upper_row = np.minimum(row + 1, len(table.threshold) - 1)
    fine = (offset & ((1 << table.row_bits) - 1)) >> (table.row_bits - table.dither_bits)
    dithers = 1 << table.dither_bits
    # Words whose low bits are below this stay in `row`; the others reach the next one.
    stay = (dithers - fine)[:, None]
    lower = table.threshold[row].astype(np.int64) + 1
    upper = table.threshold[upper_row].astype(np.int64) + 1
    in_row = _words_with_low_bits_below(lower, stay, table.dither_bits)
    in_next = upper - _words_with_low_bits_below(upper, stay, table.dither_bits)
    return (in_row + in_next).astype(np.float64)


def _words_with_low_bits_below(
    count: NDArray[np.int64], bound: NDArray[np.int64], bits: int
) -> NDArray[np.int64]:
    """Of the words 0 .. count-1, how many have their low ``bits`` bits below ``bound``."""
    partial = np.minimum(count & ((1 << bits) - 1), bound)
    return (count >> bits) * bound + partial
