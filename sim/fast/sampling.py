"""Draws counts: the rule of ``network/sampler.py``, decided for nearly all neurons by a table.

Potentials are taken in buckets of ``2**(frac_bits - 8)``. For each bucket the table holds, for
every count, the smallest and the largest threshold among its potentials. A word between the two
needs the exact potential, and the rule itself is run for it; all others are decided by the table.
At 63 counts in 14 fractional bits it has 250 kB; the bounds that decide whether a neuron fires at
all have 6 kB of these, and stay in the first-level cache. Measured: 2.2 us for 512 neurons of which
100 fire; 3.3 us where thresholds are compared one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import Interval, Sampler
from pvae_neuro.network import sampler as rule
from pvae_neuro.sim.fast.events import HEAD_BYTES, close_list
from pvae_neuro.sim.fast.memory import (
    BUCKET,
    CELLS,
    FIRES,
    RAW,
    ROW,
    address,
    command,
    compiled,
    inner,
    int32_at,
    int64_at,
    uint8_at,
    uint16_at,
)
from pvae_neuro.sim.fast.vectors import HEAD_LANES, call, reached, shift_right

# Counts that are decided by one comparison of thresholds.
HEAD = HEAD_LANES // 2
ALL_REACHED = (1 << HEAD_LANES) - 1
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
    head : uint16 [buckets, HEAD_LANES]
        Smallest, then largest thresholds of the counts 0 .. HEAD - 1.
    place, silent : int32 [buckets]
        Where the bucket's thresholds begin; how many before those are 0 for all its potentials.
    low, high : uint16
        Smallest and largest thresholds of each bucket, in order of the counts, and behind them one
        that no word but the largest reaches.
    """

    fires: Any
    head: Any
    place: Any
    silent: Any
    low: Any
    high: Any


def bucket_bits(frac_bits: int) -> int:
    """Binary logarithm of the number of potentials in a bucket."""
    return max(0, frac_bits - 8)


@dataclass(frozen=True, eq=False)
class SamplerCode:
    """A sampler as the kernel reads it.

    Attributes
    ----------
    numbers : int64
        Smallest potential, max_count, frac_bits, q, bits of a bucket; addresses of the inverses,
        of the arrays of the table, and of :func:`exact_thresholds`; the last bucket.
    kept : tuple
        The arrays.
    """

    numbers: NDArray[np.int64]
    kept: tuple[Any, ...]


@lru_cache(maxsize=16)
def sampler_code(u_min: int, u_max: int, max_count: int, frac_bits: int) -> SamplerCode:
    """Code for potentials from ``u_min`` to ``u_max``; networks share it."""
    bits = bucket_bits(frac_bits)
    buckets = ((u_max - u_min) >> bits) + 1
    room = buckets * (max_count + 1)
    inverse = np.array([rule.inverse(n) for n in range(1, max_count + 1)], np.int64)
    table = Table(
        np.empty(buckets, np.uint16),
        np.empty((buckets, HEAD_LANES), np.uint16),
        np.empty(buckets, np.int32),
        np.empty(buckets, np.int32),
        np.empty(room, np.uint16),
        np.empty(room, np.uint16),
    )
    head = (u_min, max_count, frac_bits, rule.rate_bits(max_count), bits)

    def numbers(table: Table) -> NDArray[np.int64]:
        arrays = (address(array) for array in (inverse, *table))
        return np.array([*head, *arrays, exact_thresholds.address, buckets - 1], np.int64)

    first, work = numbers(table), np.empty(3 * max_count, np.int64)
    end = _fill(address(first), u_max, address(work))
    table = table._replace(low=table.low[:end].copy(), high=table.high[:end].copy())
    return SamplerCode(numbers(table), (inverse, table))


class Samplers:
    """The samplers that a network's commands point to."""

    def __init__(self) -> None:
        self._kept: list[SamplerCode] = []

    def address_of(self, log_rate: Interval, sampler: Sampler) -> int:
        """Address of a sampler's numbers for log-rates within an interval."""
        code = sampler_code(
            log_rate.smallest, log_rate.largest, sampler.max_count, sampler.frac_bits
        )
        self._kept.append(code)
        return address(code.numbers)


@inner
def _exp2(f):  # type: ignore[no-untyped-def]
    half = np.int64(1 << 15)
    value = ((C4 * f + half) >> 16) + C3
    value = ((value * f + half) >> 16) + C2
    value = ((value * f + half) >> 16) + C1
    return ((value * f + half) >> 16) + C0


@inner
def _rounded(value, shift):  # type: ignore[no-untyped-def]
    return (value + ((np.int64(1) << shift) >> 1)) >> shift


@compiled(5)
def exact_thresholds(numbers_at, u, out_at, _, __):  # type: ignore[no-untyped-def]
    """Thresholds of one potential, as ``sampler.cumulative``; returns how many are below 2**16.

    A count is the number of thresholds that the word reaches. ``numbers`` are a sampler's.
    """
    numbers, out = int64_at(numbers_at), int64_at(out_at)
    max_count, frac_bits, q = numbers[1], numbers[2], numbers[3]
    inverse = int64_at(numbers[5])
    t = _rounded(np.int64(u) * LOG2_E, frac_bits + 6)
    f = t & LARGEST_WORD
    i = (t - f) >> 16
    r = _rounded(_exp2(f), 22 - q - i)
    below = np.int64(0)
    if i < -1:
        below = np.int64(65534)
        if 17 + i >= 0:
            below = 65535 - (np.int64(1) << (17 + i))
    if i < 0:
        in_words = r >> (q - 16) if q >= 16 else r << (16 - q)
        below = max(below, 65534 - in_words)
    x = _rounded(r * LOG2_E, q + 6)
    fraction = -x & LARGEST_WORD
    p, s = _exp2(fraction), (x + fraction) >> 16
    c = np.int64(0)
    for z in range(max_count):
        c += _rounded(p, s if s < 62 else np.int64(62))
        if p == 0:
            return z
        below = max(below, (c + 32) >> 6)
        if below >= WORDS:
            return z
        out[z] = below
        product = p * _rounded(r * inverse[z], np.int64(22))
        shift = q
        p = _rounded(product, shift)
        while p >= ONE and s > 0:
            shift += 1
            s -= 1
            p = _rounded(product, shift)
    return max_count


@inner
def _bounds(first, last, numbers_at, row_at, low, high):  # type: ignore[no-untyped-def]
    """Smallest and largest thresholds of a bucket; returns how many any potential has."""
    exact, row = int64_at(numbers_at)[12], int64_at(row_at)
    longest = np.int64(0)
    for u in range(first, last):
        length = call(exact, numbers_at, u, row_at, 0, 0)
        for z in range(length, longest):
            high[z] = WORDS
        for z in range(length):
            if z >= longest:
                # Potentials before the first one that reaches so far had no threshold here.
                low[z] = row[z]
                high[z] = row[z] if u == first else WORDS
            elif row[z] < low[z]:
                low[z] = row[z]
            elif row[z] > high[z]:
                high[z] = row[z]
        longest = max(longest, length)
    return longest


@compiled(3)
def _fill(numbers_at, u_max, work_at):  # type: ignore[no-untyped-def]
    """Fill a sampler's table; returns the number of thresholds."""
    numbers = int64_at(numbers_at)
    u_min, max_count, bits = numbers[0], numbers[1], numbers[4]
    low, high = int64_at(work_at + 8 * max_count), int64_at(work_at + 16 * max_count)
    fires, head = uint16_at(numbers[6]), uint16_at(numbers[7])
    place, silent = int32_at(numbers[8]), int32_at(numbers[9])
    all_low, all_high = uint16_at(numbers[10]), uint16_at(numbers[11])
    end = np.int64(0)
    for bucket in range(((u_max - u_min) >> bits) + 1):
        first = u_min + (bucket << bits)
        last = first + (1 << bits)
        if last > u_max:
            last = u_max + 1
        longest = _bounds(first, last, numbers_at, work_at, low, high)
        zeros = np.int64(0)
        while zeros < longest and high[zeros] == 0:
            zeros += 1
        # The largest word stands for thresholds that no word reaches.
        fires[bucket] = low[0] if longest > 0 else LARGEST_WORD
        place[bucket] = end
        silent[bucket] = zeros
        for z in range(zeros, longest + 1):
            inside = z < longest
            all_low[end] = low[z] if inside else LARGEST_WORD
            all_high[end] = high[z] if inside and high[z] < WORDS else LARGEST_WORD
            end += 1
        for z in range(HEAD):
            # Rows that begin with zeros are left to the full search.
            inside = z < longest and zeros == 0
            none = 0 if zeros > 0 else LARGEST_WORD
            head[HEAD_LANES * bucket + z] = low[z] if inside else none
            here = inside and high[z] < WORDS
            head[HEAD_LANES * bucket + HEAD + z] = high[z] if here else none
    return end


@inner
def _count(u, word, bucket, numbers_at, row_at):  # type: ignore[no-untyped-def]
    """Count of a neuron that its head does not decide."""
    numbers = int64_at(numbers_at)
    low, high = uint16_at(numbers[10]), uint16_at(numbers[11])
    place = np.int64(int32_at(numbers[8])[bucket])
    count = np.int64(0)
    if word < LARGEST_WORD:
        while word >= low[place + count]:
            count += 1
        if count == 0 or word >= high[place + count - 1]:
            return count + int32_at(numbers[9])[bucket]
    row = int64_at(row_at)
    count = np.int64(0)
    for z in range(call(numbers[12], numbers_at, np.int64(u), row_at, 0, 0)):
        count += np.int64(word >= row[z])
    return count


@command
def draw_counts(command, room):  # type: ignore[no-untyped-def]
    """Places of the log-rate u and of the counts z; neurons; skipped words; sampler; list; stride.

    Draws the counts of a population and lists the active neurons; u and z are different arrays. The
    sampler is the address of :class:`SamplerCode`'s numbers. Loops over neurons are written so
    that the compiler turns them into vector instructions.
    """
    u, z = int32_at(room[CELLS] + 4 * command[1]), int32_at(room[CELLS] + 4 * command[2])
    n, words = command[3], uint16_at(room[RAW] + 2 * command[4])
    numbers = int64_at(command[5])
    at, stride = room[CELLS] + 4 * command[6], command[7]
    active, count = int32_at(at + HEAD_BYTES), int32_at(at + HEAD_BYTES + 4 * stride)
    first, head = uint16_at(numbers[6]), uint16_at(numbers[7])
    u_min, bits = np.int32(numbers[0]), np.int32(numbers[4])
    bucket, fires = int32_at(room[BUCKET]), uint8_at(room[FIRES])
    # No proved potential is outside; a wrong one must not read memory that is not the table's.
    none, last = np.int32(0), np.int32(numbers[13])
    for i in range(n):
        bucket[i] = min(max(shift_right(np.int32(u[i] - u_min), bits), none), last)
        z[i] = 0
    # Two loops, since loads that follow stores to places not yet known would wait for them.
    for i in range(n):
        fires[i] = words[i] >= first[bucket[i]]
    found = np.int64(0)
    for i in range(n):
        active[found] = i
        found += np.int64(fires[i])
    kept = np.int64(0)
    for a in range(found):
        i = active[a]
        word = words[i]
        mask = reached(head, HEAD_LANES * np.int64(bucket[i]), word)
        some = mask & (ALL_REACHED >> HEAD)
        # Thresholds rise, so that the bits are 1, 11, 111: this is their number.
        drawn = np.int64(some - (some >> 1) - (some >> 2) - (some >> 3))
        if some != mask >> HEAD or mask == ALL_REACHED or word == LARGEST_WORD:
            drawn = _count(u[i], word, bucket[i], command[5], room[ROW])
        z[i] = drawn
        active[kept] = i
        count[kept] = drawn
        kept += np.int64(drawn > 0)
    close_list(at, stride, kept)
