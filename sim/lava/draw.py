"""Poisson counts by thresholds: the counts of the sampler's rule, drawn faster.

The rule of :mod:`pvae_neuro.network.sampler` is monotone in the random word, so that the count is
the number of thresholds that the word reaches. The thresholds of all potentials that a population
can have are computed once: some megabytes, too much for a cache. So neighbouring potentials share
a bucket, for which the lowest and the highest threshold of each count are kept besides; nearly all
words lie on one side of both, and the few others look at the exact thresholds.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import Interval, Sampler
from pvae_neuro.network.sampler import WORDS, cumulative, sample_counts

Ints = NDArray[np.int64]
# Thresholds of 8 bytes each; a sampler that needs more follows its rule instead.
MOST_THRESHOLDS = 1 << 24
# Neurons for which all levels at once take less time than another level.
FEW = 128
# A threshold is at most 2**16.
_KEY_BITS = 17
# Within a bucket rates differ by 2**-8: about that part of the neurons that fire are unsure.
_BUCKETS_PER_UNIT_BITS = 8
_BUCKETS_PER_BLOCK = 1 << 7
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
        self._tables = thresholds(low, high, max_count, frac_bits)
        self._bucket = np.empty(0, np.int64)

    def __call__(self, potential: Ints, word: NDArray[np.int32], out: Ints) -> None:
        """Draw the count of each potential by its word, into ``out``; all of one shape."""
        tables = self._tables
        potentials, words, counts = potential.reshape(-1), word.reshape(-1), out.reshape(-1)
        if self._bucket.shape != potentials.shape:
            self._bucket = np.empty(potentials.shape, np.int64)
        every = np.subtract(potentials, tables.low, out=self._bucket)
        every >>= tables.bucket_bits
        firing = np.flatnonzero(words >= tables.lowest[0].take(every))
        bucket, words = every.take(firing), words.take(firing)
        found = np.zeros(len(firing), np.int64)
        left = np.arange(len(firing))
        # Level by level while many are left, then all levels of the few at once.
        for level in tables.lowest[1:]:
            if len(left) <= FEW:
                break
            found[left] += 1
            left = left.take(np.flatnonzero(words.take(left) >= level.take(bucket.take(left))))
        reached = words.take(left)[:, None] >= tables.lowest_of.take(bucket.take(left), axis=0)
        found[left] = np.count_nonzero(reached, axis=1)
        place = (found - 1) * tables.highest.shape[1] + bucket
        unsure = np.flatnonzero(words < tables.highest.reshape(-1).take(place))
        row = potentials.take(firing.take(unsure)) - tables.low
        found[unsure] = tables.settle(row, words.take(unsure), found.take(unsure))
        counts.fill(0)
        counts[firing] = found


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


class Thresholds(NamedTuple):
    """Thresholds of a range of potentials.

    Attributes
    ----------
    low : int
        Potential of row 0.
    bucket_bits : int
        A bucket holds 2**bucket_bits rows.
    lowest, highest : int32 [max_count, buckets]
        Of the thresholds of each count from 1, over the rows of a bucket.
    lowest_of : int32 [buckets, max_count]
        The same, bucket by bucket.
    keys : int64
        Sorted: row * 2**17 + threshold, for all thresholds that a word can reach; below and above
        them one more.
    starts : int64 [rows]
        Number of keys before each row.
    """

    low: int
    bucket_bits: int
    lowest: NDArray[np.int32]
    highest: NDArray[np.int32]
    lowest_of: NDArray[np.int32]
    keys: Ints
    starts: Ints

    def settle(self, row: Ints, words: NDArray[np.int32], most: Ints) -> Ints:
        """Number of thresholds that the words reach, by the exact ones; ``most`` or less."""
        key = (row << _KEY_BITS) + words
        before = self.starts.take(row) - 1
        # Beyond a row's own thresholds lie those of the next, which are never reached.
        while (less := key < self.keys.take(before + most, mode="clip")).any():
            most = most - less
        return most


@lru_cache(maxsize=4)
def thresholds(low: int, high: int, max_count: int, frac_bits: int) -> Thresholds:
    """Compute the thresholds of a range of potentials."""
    bucket_bits = max(0, frac_bits - _BUCKETS_PER_UNIT_BITS)
    low = low >> bucket_bits << bucket_bits
    buckets = ((high - low) >> bucket_bits) + 1
    lowest, highest, keys, lengths = [], [], [], []
    for first in range(0, buckets, _BUCKETS_PER_BLOCK):
        rows = np.arange(
            first << bucket_bits, min(first + _BUCKETS_PER_BLOCK, buckets) << bucket_bits
        )
        # The last bucket is filled up with its last row.
        table = cumulative(np.minimum(low + rows, high), max_count, frac_bits)
        by_bucket = table[:, :max_count].reshape(-1, 1 << bucket_bits, max_count)
        lowest.append(by_bucket.min(axis=1))
        highest.append(by_bucket.max(axis=1))
        keys.append((table + (rows << _KEY_BITS)[:, None])[table < WORDS])
        lengths.append(np.count_nonzero(table < WORDS, axis=1))
    length = np.concatenate(lengths)
    return Thresholds(
        low,
        bucket_bits,
        np.ascontiguousarray(np.concatenate(lowest).T),
        np.ascontiguousarray(np.concatenate(highest).T),
        np.concatenate(lowest),
        np.concatenate([[-1], *keys, [1 << 62]]),
        1 + np.cumsum(length) - length,
    )
