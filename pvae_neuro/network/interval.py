"""Interval arithmetic: the smallest and the largest value that a word can take.

An interval holds one pair of bounds per neuron, or a single pair that all neurons share. Bounds are
64-bit; beyond ``LARGEST`` they saturate, which is far above any width that a network may declare,
so that a saturated bound is always reported as too wide.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
LARGEST = 1 << 60


class Interval(NamedTuple):
    """Bounds of a value, both inclusive: int64 [n], or [1] where all neurons share them."""

    low: Ints
    high: Ints

    def __repr__(self) -> str:
        return f"<Interval of {len(self.low)}: {self.smallest} to {self.largest}>"

    @property
    def smallest(self) -> int:
        """Smallest bound over all neurons."""
        return int(self.low.min())

    @property
    def largest(self) -> int:
        """Largest bound over all neurons."""
        return int(self.high.max())

    @property
    def bits(self) -> int:
        """Signed width that holds every value."""
        return signed_bits(self.smallest, self.largest)

    def contains(self, other: Interval) -> bool:
        """Whether ``other`` lies within this interval, neuron by neuron."""
        return bool(np.all(self.low <= other.low) and np.all(other.high <= self.high))


def signed_bits(low: int, high: int) -> int:
    """Width of a two's complement word that holds ``low`` and ``high``."""
    return max((end if end >= 0 else end + 1).bit_length() for end in (low, high)) + 1


def point(values: NDArray[np.integer] | int) -> Interval:  # type: ignore[type-arg]
    """Interval of known values."""
    known = np.atleast_1d(np.asarray(values, np.int64))
    return Interval(known, known)


def between(low: int, high: int) -> Interval:
    """The same bounds for every neuron."""
    return Interval(np.array([low], np.int64), np.array([high], np.int64))


def hull(*intervals: Interval) -> Interval:
    """Smallest interval that holds all of these."""
    low, high = intervals[0]
    for other in intervals[1:]:
        low, high = np.minimum(low, other.low), np.maximum(high, other.high)
    return Interval(low, high)


def saturating_product(a: Ints, b: Ints) -> Ints:
    """``a * b``, saturated at ``LARGEST``."""
    large = np.abs(a.astype(np.float64) * b.astype(np.float64)) >= LARGEST
    exact = np.where(large, 0, a) * np.where(large, 0, b)
    sign = np.sign(a) * np.sign(b)
    return np.where(large, sign * LARGEST, exact)


def saturating_sum(*terms: Ints) -> Ints:
    """Sum, saturated at ``LARGEST``."""
    total = terms[0]
    for term in terms[1:]:
        total = np.clip(total + term, -LARGEST, LARGEST)
    return total


def shift_bounds(value: Interval, right: Interval) -> Interval:
    """Bounds of ``shift_right(value, right)`` for every amount within ``right``."""
    amounts = right[:1] if right.low is right.high else right
    corners = [_saturating_shift(v, r) for v in value for r in amounts]
    return Interval(np.minimum.reduce(corners), np.maximum.reduce(corners))


def _saturating_shift(value: Ints, right: Ints) -> Ints:
    up = value
    if right.min() < 0:
        left = np.clip(-right, 0, 59)
        up = saturating_product(value, np.int64(1) << left)
    down = np.clip(right, 0, 62)
    half = (np.int64(1) << down) >> 1
    return (np.minimum(up, LARGEST) + half) >> down
