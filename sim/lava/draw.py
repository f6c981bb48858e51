"""Poisson counts by thresholds: the counts of the sampler's rule, drawn faster.

The rule of :mod:`pvae_neuro.network.sampler` is monotone in the random word, so that the count is the
number of thresholds that the word reaches. The thresholds of all potentials that a population can
have are computed once. Most neurons reach none: a first look at one threshold each settles them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import Interval, Sampler
from pvae_neuro.network.sampler import (
    LOWEST_POTENTIAL,
    WORDS,
    cumulative,
    largest_potential,
    sample_counts,
)

Ints = NDArray[np.int64]
# Thresholds of 4 bytes each; a sampler that needs more follows its rule instead.
MOST_THRESHOLDS = 1 << 25
_POTENTIALS_PER_BLOCK = 1 << 13
_SAMPLED_ROWS = 256


class ThresholdDraw:
    """Draws counts of potentials within a range.

    Parameters
    ----------
    low, high : int
        Smallest and largest potential.
    max_count, frac_bits : int
    """

    def __init__(self, low: int, high: int, max_count: int, frac_bits: int) -> None:
        self._low = low
        self._first, self._start, self._thresholds = _thresholds(low, high, max_count, frac_bits)

    def __call__(self, potential: Ints, word: NDArray[np.int32], out: Ints) -> None:
        """Draw the count of each potential by its word, into ``out``; all of one shape."""
        row = (potential - self._low).reshape(-1)
        words = word.reshape(-1)
        counts = out.reshape(-1)
        counts.fill(0)
        firing = np.flatnonzero(words >= self._first.take(row))
        if not firing.size:
            return
        words = words.take(firing)
        first = self._start.take(row.take(firing))
        place = first + 1
        # A row ends with a threshold that no word reaches.
        while (more := words >= self._thresholds.take(place)).any():
            place += more
        counts[firing] = place - first


class RuleDraw:
    """Draws counts by the rule itself.

    Parameters
    ----------
    max_count, frac_bits : int
    """

    def __init__(self, max_count: int, frac_bits: int) -> None:
        self._max_count, self._frac_bits = max_count, frac_bits

    def __call__(self, potential: Ints, word: NDArray[np.int32], out: Ints) -> None:
        """Draw the count of each potential by its word, into ``out``."""
        out[...] = sample_counts(potential, word, self._max_count, self._frac_bits)


def draw_of(sampler: Sampler, potential: Interval | None = None) -> ThresholdDraw | RuleDraw:
    """The faster way to draw a sampler's counts.

    Parameters
    ----------
    sampler : Sampler
    potential : Interval, optional
        Proved bounds of the potential; by default all that the sampler allows.
    """
    max_count, frac_bits = sampler.max_count, sampler.frac_bits
    low = LOWEST_POTENTIAL << frac_bits
    high = max(largest_potential(max_count, frac_bits), 0)
    if potential is not None:
        low, high = potential.smallest, potential.largest
    if _expected_thresholds(low, high, max_count, frac_bits) > MOST_THRESHOLDS:
        return RuleDraw(max_count, frac_bits)
    return ThresholdDraw(low, high, max_count, frac_bits)


def _expected_thresholds(low: int, high: int, max_count: int, frac_bits: int) -> float:
    """About how many thresholds a range of potentials has: the mean of a few rows, for all."""
    some = np.linspace(low, high, _SAMPLED_ROWS).astype(np.int64)
    reached = np.count_nonzero(cumulative(some, max_count, frac_bits) < WORDS, axis=1)
    return float(reached.mean() + 1) * (high - low + 1)


@lru_cache(maxsize=4)
def _thresholds(
    low: int, high: int, max_count: int, frac_bits: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """First threshold and start of each row, int32 and int64; and all rows, int32, one by one.

    A row holds the thresholds that a word can reach, and one that none can.
    """
    first, lengths, rows = [], [], []
    for block in range(low, high + 1, _POTENTIALS_PER_BLOCK):
        u = np.arange(block, min(block + _POTENTIALS_PER_BLOCK, high + 1))
        table = cumulative(u, max_count, frac_bits)
        reached = np.count_nonzero(table < WORDS, axis=1)
        kept = np.arange(max_count + 1) <= reached[:, None]
        first.append(table[:, 0])
        lengths.append(reached + 1)
        rows.append(table[kept])
    length = np.concatenate(lengths)
    return np.concatenate(first), np.cumsum(length) - length, np.concatenate(rows)
