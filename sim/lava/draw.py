"""Poisson counts by thresholds: the counts of the sampler's rule, drawn faster.

The rule of :mod:`pvae_neuro.network.sampler` is monotone in the random word, so that the count is
the number of thresholds that the word reaches. The thresholds of all potentials that a population
can have are computed once. Most neurons reach none: a look at one threshold each settles them.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import Interval, Sampler
from pvae_neuro.network.sampler import WORDS, cumulative, sample_counts

Ints = NDArray[np.int64]
# Thresholds of 8 bytes each; a sampler that needs more follows its rule instead.
MOST_THRESHOLDS = 1 << 24
# Neurons for which bisection over all keys takes less time than another level.
FEW = 256
# A threshold is at most 2**16.
_KEY_BITS = 17
_POTENTIALS_PER_BLOCK = 1 << 13
_SAMPLED_ROWS = 256


class ThresholdDraw:
    """Draws counts of potentials within a range.

    All thresholds lie in one sorted array of keys, row * 2**17 + threshold, a row for each
    potential. The first of each row lie together besides.

    Parameters
    ----------
    low, high : int
        Smallest and largest potential.
    max_count, frac_bits : int
    """

    def __init__(self, low: int, high: int, max_count: int, frac_bits: int) -> None:
        self._low = low
        self._first, self._start, self._keys = _thresholds(low, high, max_count, frac_bits)

    def __call__(self, potential: Ints, word: NDArray[np.int32], out: Ints) -> None:
        """Draw the count of each potential by its word, into ``out``; all of one shape."""
        row = (potential - self._low).reshape(-1)
        words = word.reshape(-1)
        counts = out.reshape(-1)
        counts.fill(0)
        firing = np.flatnonzero(words >= self._first.take(row))
        row = row.take(firing)
        start = self._start.take(row)
        key = (row << _KEY_BITS) + words.take(firing)
        # Counts of 1 are the most; level by level while many are left, then by bisection.
        level = 1
        while firing.size > FEW:
            more = np.flatnonzero(key >= self._keys.take(start + level))
            counts[firing] = level
            firing, start, key = firing.take(more), start.take(more), key.take(more)
            level += 1
        counts[firing] = self._keys.searchsorted(key, "right") - start


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


def draw_of(sampler: Sampler, potential: Interval) -> ThresholdDraw | RuleDraw:
    """The faster way to draw a sampler's counts.

    Parameters
    ----------
    sampler : Sampler
    potential : Interval
        Proved bounds of the potential.
    """
    max_count, frac_bits = sampler.max_count, sampler.frac_bits
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
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """First threshold of each row, where its keys start, and all keys.

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
        rows.append((table + ((u - low) << _KEY_BITS)[:, None])[kept])
    length = np.concatenate(lengths)
    return np.concatenate(first), np.cumsum(length) - length, np.concatenate(rows)
