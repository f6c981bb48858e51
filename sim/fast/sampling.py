"""Draws counts: the rule of ``network/sampler.py``, decided for nearly all neurons by a small table.

Potentials are taken in buckets of ``2**(frac_bits - 8)``. For each bucket the table holds, for every
count, the smallest and the largest threshold among its potentials. A word between the two would
need the exact potential, and the rule itself is run for it; all others are decided by the table.
At 63 counts in 14 fractional bits it has 150 kB, and one draw in 150 runs the rule; the bounds that
decide whether a neuron fires at all have 6 kB and stay in the first-level cache.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import Interval, Sampler
from pvae_neuro.network import sampler as rule
from pvae_neuro.sim.fast.compiled import compiled
from pvae_neuro.sim.fast.vectors import shift_right

# Thresholds compared for each neuron that may fire, whatever its count.
HEAD = 4
WORDS = rule.WORDS
LARGEST_WORD = WORDS - 1
LOG2_E = rule.LOG2_E
C4, C3, C2, C1, C0 = rule.EXP2_COEFFICIENTS
ONE = rule.ONE


class Table(NamedTuple):
    """Bounds of thresholds for all potentials of a range.

    Thresholds are held as words; one of ``2**16``, which no word reaches, as the largest word, for
    which the rule itself is run.

    Attributes
    ----------
    fires : uint16 [buckets]
        Smallest first threshold: below it no neuron of the bucket fires.
    place, silent : int32 [buckets]
        Where the bucket's thresholds begin; how many before those are 0 for all its potentials.
    low, high : uint16
        Smallest and largest thresholds of each bucket, in order of the counts; at least ``HEAD``
        and one that no word but the largest reaches.
    """

    fires: NDArray[np.uint16]
    place: NDArray[np.int32]
    silent: NDArray[np.int32]
    low: NDArray[np.uint16]
    high: NDArray[np.uint16]


def bucket_bits(frac_bits: int) -> int:
    """Binary logarithm of the number of potentials in a bucket."""
    return max(0, frac_bits - 8)


@lru_cache(maxsize=16)
def table_for(u_min: int, u_max: int, max_count: int, frac_bits: int) -> Table:
    """Table for potentials from ``u_min`` to ``u_max``; networks share it."""
    shape = (max_count, frac_bits, rule.rate_bits(max_count), bucket_bits(frac_bits))
    fires, place, silent, low, high = _fill(u_min, u_max, inverses(max_count), *shape)
    return Table(fires, place, silent, low, high)


def inverses(max_count: int) -> NDArray[np.int64]:
    """``round(2**22 / n)`` for n from 1 to the largest count."""
    return np.array([rule.inverse(n) for n in range(1, max_count + 1)], np.int64)


class Samplers:
    """The samplers of a network, side by side as the kernel reads them.

    Attributes
    ----------
    rows : list of list of int
        See :func:`draw_counts`.
    """

    def __init__(self) -> None:
        self.rows: list[list[int]] = []
        self._numbers: dict[tuple[int, int, int, int], int] = {}
        self._tables: list[Table] = []
        self._inverses: list[NDArray[np.int64]] = []

    def number(self, log_rate: Interval, sampler: Sampler) -> int:
        """Row of a sampler for log-rates within an interval."""
        key = (log_rate.smallest, log_rate.largest, sampler.max_count, sampler.frac_bits)
        if key not in self._numbers:
            self._numbers[key] = len(self.rows)
            self._add(*key)
        return self._numbers[key]

    def _add(self, u_min: int, u_max: int, max_count: int, frac_bits: int) -> None:
        buckets = sum(len(table.fires) for table in self._tables)
        inverse = sum(len(values) for values in self._inverses)
        q, bits = rule.rate_bits(max_count), bucket_bits(frac_bits)
        self.rows.append([u_min, max_count, frac_bits, q, bits, buckets, inverse])
        self._tables.append(table_for(u_min, u_max, max_count, frac_bits))
        self._inverses.append(inverses(max_count))

    def table(self) -> Table:
        """All tables, one after the other."""
        if not self._tables:
            nothing, none = np.zeros(1, np.uint16), np.zeros(1, np.int32)
            return Table(nothing, none, none, nothing, nothing)
        begins = np.cumsum([0, *(len(t.low) for t in self._tables)], dtype=np.int32)
        moved = [
            t._replace(place=t.place + begin)
            for t, begin in zip(self._tables, begins, strict=False)
        ]
        return Table(*(np.concatenate(parts) for parts in zip(*moved, strict=True)))

    def inverse(self) -> NDArray[np.int64]:
        """Inverses of all samplers."""
        return np.concatenate([*self._inverses, np.zeros(1, np.int64)])


@nb.njit
def _mul(a, b, shift):  # type: ignore[no-untyped-def]
    return (a * b + ((np.int64(1) << shift) >> 1)) >> shift


@nb.njit
def _exp2(f):  # type: ignore[no-untyped-def]
    value = _mul(np.int64(C4), f, 16) + C3
    value = _mul(value, f, 16) + C2
    value = _mul(value, f, 16) + C1
    return _mul(value, f, 16) + C0


@nb.njit
def _rounded(value, shift):  # type: ignore[no-untyped-def]
    return (value + ((np.int64(1) << shift) >> 1)) >> shift


@nb.njit
def exact_thresholds(u, inverse, max_count, frac_bits, q, out):  # type: ignore[no-untyped-def]
    """Thresholds of one potential, as ``sampler.cumulative``; returns how many are below 2**16.

    A count is the number of thresholds that the word reaches.
    """
    t = _mul(np.int64(u), np.int64(LOG2_E), frac_bits + 6)
    f = t & LARGEST_WORD
    i = (t - f) >> 16
    r = _rounded(_exp2(f), 22 - q - i)
    below = np.int64(0)
    if i < -1:
        below = np.int64(65534) if 17 + i < 0 else 65535 - (np.int64(1) << (17 + i))
    if i < 0:
        in_words = r >> (q - 16) if q >= 16 else r << (16 - q)
        below = max(below, 65534 - in_words)
    x = _mul(r, np.int64(LOG2_E), q + 6)
    fraction = -x & LARGEST_WORD
    p, s = _exp2(fraction), (x + fraction) >> 16
    c = np.int64(0)
    for z in range(max_count):
        c += _rounded(p, min(s, 62))
        if s == 0 and p == 0:
            return z
        below = max(below, (c + 32) >> 6)
        if below >= WORDS:
            return z
        out[z] = below
        product = p * _mul(r, inverse[z], 22)
        shift = q
        p = _rounded(product, shift)
        while p >= ONE and s > 0:
            shift += 1
            s -= 1
            p = _rounded(product, shift)
    return max_count


@nb.njit
def _bounds(bucket, u_min, u_max, inverse, max_count, frac_bits, q, bits, row, low, high):  # type: ignore[no-untyped-def]
    """Smallest and largest thresholds of a bucket; returns how many any potential has."""
    low[:], high[:] = WORDS, 0
    longest = 0
    first = u_min + (bucket << bits)
    for u in range(first, min(first + (1 << bits), u_max + 1)):
        length = exact_thresholds(u, inverse, max_count, frac_bits, q, row)
        for z in range(max(length, longest)):
            threshold = row[z] if z < length else np.int64(WORDS)
            low[z], high[z] = min(low[z], threshold), max(high[z], threshold)
        if u > first:
            # Earlier potentials had no threshold here.
            high[longest:length] = WORDS
        longest = max(longest, length)
    return longest


@compiled
def _fill(u_min, u_max, inverse, max_count, frac_bits, q, bits):  # type: ignore[no-untyped-def]
    buckets = ((u_max - u_min) >> bits) + 1
    fires = np.empty(buckets, np.uint16)
    place, silent = np.empty(buckets, np.int32), np.empty(buckets, np.int32)
    row = np.empty(max_count, np.int64)
    low, high = np.empty(max_count, np.int64), np.empty(max_count, np.int64)
    all_low, all_high = np.empty(64 * buckets, np.uint16), np.empty(64 * buckets, np.uint16)
    end = 0
    for bucket in range(buckets):
        longest = _bounds(
            bucket, u_min, u_max, inverse, max_count, frac_bits, q, bits, row, low, high
        )
        zeros = 0
        while zeros < longest and high[zeros] == 0:
            zeros += 1
        needed = max(longest - zeros, HEAD) + 1
        if end + needed > len(all_low):
            all_low, all_high = np.append(all_low, all_low), np.append(all_high, all_high)
        for z in range(needed):
            inside = zeros + z < longest
            all_low[end + z] = min(low[zeros + z], LARGEST_WORD) if inside else LARGEST_WORD
            all_high[end + z] = min(high[zeros + z], LARGEST_WORD) if inside else LARGEST_WORD
        # Where counts above 0 are certain, every word may fire.
        fires[bucket] = 0 if zeros > 0 else all_low[end]
        place[bucket], silent[bucket] = end, zeros
        end += needed
    return fires, place, silent, all_low[:end].copy(), all_high[:end].copy()


class Room(NamedTuple):
    """Room for one draw of a population of n neurons.

    Attributes
    ----------
    bucket : int32 [n]
    fires : uint8 [n]
    row : int64
        Thresholds of one potential.
    """

    bucket: NDArray[np.int32]
    fires: NDArray[np.uint8]
    row: NDArray[np.int64]


@nb.njit
def _count(u, word, bucket, tables, inverse, numbers, row):  # type: ignore[no-untyped-def]
    """Count of one neuron that may fire."""
    max_count, frac_bits, q = numbers[1], numbers[2], numbers[3]
    place = tables.place[bucket]
    count = np.int32(0)
    if word < LARGEST_WORD:
        for j in range(HEAD):
            count += np.int32(word >= tables.low[place + j])
        if count == HEAD:
            while word >= tables.low[place + count]:
                count += np.int32(1)
        if count == 0 or word >= tables.high[place + count - 1]:
            return count + tables.silent[bucket]
    count = np.int32(0)
    for z in range(exact_thresholds(u, inverse, max_count, frac_bits, q, row)):
        count += np.int32(word >= row[z])
    return count


@nb.njit
def draw_counts(u, z, words, active, count, tables, inverse, numbers, room):  # type: ignore[no-untyped-def]
    """Draw the counts ``z`` of a population; list the active neurons.

    Loops over neurons are written so that the compiler turns them into vector instructions.

    Parameters
    ----------
    u, z : int32 [n]
        Two different arrays.
    words : uint16 [n]
    active, count : int32 [n + 2]
        See :mod:`events`.
    tables : Table
        Of all populations, one after the other.
    inverse : int64
    numbers : int64 [8]
        Smallest potential, max_count, frac_bits, q, bits of a bucket; where the population's
        buckets begin, and its inverses.

    Returns
    -------
    int
        Number of active neurons.
    """
    u_min, bits, base = np.int32(numbers[0]), np.int32(numbers[4]), np.int32(numbers[5])
    bucket, fires = room.bucket, room.fires
    own = inverse[numbers[6] :]
    n = u.shape[0]
    for i in range(n):
        bucket[i] = shift_right(np.int32(u[i] - u_min), bits) + base
        z[i] = 0
    # Unsigned, so that no code is made for negative indices. Two loops, since loads that follow
    # stores to places not yet known would wait for them.
    for i in range(n):
        fires[i] = words[i] >= tables.fires[np.uint32(bucket[i])]
    found = np.uint64(0)
    for i in range(n):
        active[found] = i
        found += np.uint64(fires[i])
    kept = np.int64(0)
    for a in range(np.int64(found)):
        i = active[a]
        drawn = _count(u[i], words[i], bucket[i], tables, own, numbers, room.row)
        z[i] = drawn
        active[kept], count[kept] = i, drawn
        kept += np.int64(drawn > 0)
    active[kept], count[kept] = 0, 0
    return kept
