"""Compiled pieces that work on events: drawing counts, and adding the rows of active neurons.

All are inlined into the kernels of :mod:`recurrent` and :mod:`feedback`. Loops over neurons are
written so that the compiler turns them into vector instructions.

A list of active neurons is ``active`` (their numbers) and ``count`` (their counts), ``found`` of
them, and behind those one entry of count zero, so that neurons can be taken two at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from pvae_neuro.sim.fast.vectors import (
    BYTE_LANES,
    THRESHOLDS_TOGETHER,
    add_byte_rows,
    byte_sums,
    count_below,
    shift_right,
    store_byte_sums,
)

INT16_MAX = (1 << 15) - 1
# Thresholds compared for each active neuron, whatever its count.
HEAD = 4


class Sampler(NamedTuple):
    """Count table as the kernels read it.

    Attributes
    ----------
    first : uint16 [rows]
        First threshold of each row: whether a neuron fires at all.
    head : uint16 [rows, HEAD]
        The first thresholds of each row.
    threshold : uint16 [rows * width]
        Rows are padded with the largest word to a multiple of ``THRESHOLDS_TOGETHER``.
    width : int
    most : int
        max_count.
    shape : int32 [3]
        u_min, row_bits, dither_bits.
    """

    first: NDArray[np.uint16]
    head: NDArray[np.uint16]
    threshold: NDArray[np.uint16]
    width: int
    most: int
    shape: NDArray[np.int32]


class Rows(NamedTuple):
    """Event-driven connections between the same two populations.

    Attributes
    ----------
    weight : int8 [C, sources * width]
        One row per source neuron, padded to ``width``, a multiple of ``BYTE_LANES``.
    largest : int32 [C, sources]
        Largest absolute weight of each row.
    exponent : int64 [C]
    """

    weight: NDArray[np.int8]
    largest: NDArray[np.int32]
    exponent: NDArray[np.int64]


class Scratch(NamedTuple):
    """Room for one sample's iteration, made once per call of a kernel.

    Attributes
    ----------
    raw : uint64 [4 ceil(K / 16)]
        Noise.
    words : uint16 [K]
        The same, a word for each neuron.
    row : int32 [K]
    fires : uint8 [K]
    change : int32 [K]
    part, total : int32 [width]
    """

    raw: NDArray[np.uint64]
    words: NDArray[np.uint16]
    row: NDArray[np.int32]
    fires: NDArray[np.uint8]
    change: NDArray[np.int32]
    part: NDArray[np.int32]
    total: NDArray[np.int32]


@nb.njit
def empty_scratch(latents, targets):  # type: ignore[no-untyped-def]
    """Room for that many latents and targets of their spikes."""
    raw = np.empty((latents + 15) // 16 * 4, np.uint64)
    width = -(-targets // BYTE_LANES) * BYTE_LANES
    return Scratch(
        raw,
        raw.view(np.uint16)[:latents],
        np.empty(latents, np.int32),
        np.empty(latents, np.uint8),
        np.empty(latents, np.int32),
        np.empty(width, np.int32),
        np.empty(width, np.int32),
    )


@nb.njit
def draw_counts(u, sampler, scratch, active, count):  # type: ignore[no-untyped-def]
    """Sample every neuron; list the active ones.

    ``active`` and ``count`` have one entry more than neurons, so that the list can be written
    without a branch. Returns the number of active neurons and of spikes.
    """
    words, row, fires = scratch.words, scratch.row, scratch.fires
    u_min, row_bits, dither_bits = sampler.shape[0], sampler.shape[1], sampler.shape[2]
    low_bits = np.int32((1 << dither_bits) - 1)
    spread = np.int32(1 << (row_bits - dither_bits))
    for i in range(u.shape[0]):
        dither = np.int32((np.int32(words[i]) & low_bits) * spread)
        row[i] = shift_right(np.int32(u[i] - u_min + dither), row_bits)
    # Unsigned, so that no code is made for negative indices. Two loops, since loads that follow
    # stores to places not yet known would wait for them.
    for i in range(u.shape[0]):
        fires[i] = words[i] > sampler.first[np.uint32(row[i])]
    found = np.uint64(0)
    for i in range(u.shape[0]):
        active[found] = i
        found += np.uint64(fires[i])
    spikes = np.int64(0)
    for a in range(np.int64(found)):
        count[a] = _count(words[active[a]], row[active[a]], sampler)
        spikes += count[a]
    active[found] = 0
    count[found] = 0
    return np.int64(found), spikes


@nb.njit
def _count(word, line, sampler):  # type: ignore[no-untyped-def]
    """How many thresholds of a row the word exceeds; they ascend."""
    count = np.int32(1)
    for j in range(1, HEAD):
        count += np.int32(word > sampler.head[line, j])
    if count < HEAD:
        return count
    # Further on many are compared at once.
    count = np.int32(0)
    for first in range(0, sampler.width, THRESHOLDS_TOGETHER):
        more = count_below(sampler.threshold, line * sampler.width + first, word)
        count += more
        if more < THRESHOLDS_TOGETHER:
            break
    return count


@nb.njit
def pair_counts(count, found, pair):  # type: ignore[no-untyped-def]
    """Pack the counts of two neurons into one number, for the vector instructions."""
    for p in range((found + 1) // 2):
        pair[p] = count[2 * p] | (count[2 * p + 1] << 16)


@nb.njit
def add_rows(rows, largest, active, count, pair, found, scratch):  # type: ignore[no-untyped-def]
    """``scratch.total[i] = sum over active j of count[j] * weight[j, i]`` with rows of bytes.

    Sums of 16 bits are exact as long as the counts, each times the largest weight of its row, add
    up to 15 bits. The list is cut where they would not; ``part`` holds the sums of a cut.
    """
    part, total = scratch.part, scratch.total
    start = 0
    while True:
        stop, reach = start, 0
        while stop < found:
            reach += count[stop] * largest[active[stop]]
            reach += count[stop + 1] * largest[active[stop + 1]]
            if reach > INT16_MAX:
                break
            stop += 2
        into = total if start == 0 else part
        if stop == start and start < found:
            stop += 2
            _add_two_rows(rows, active, count, start, into)
        else:
            _add_narrow_rows(rows, active, pair, start, stop, into)
        if start > 0:
            for i in range(total.shape[0]):
                total[i] += part[i]
        start = stop
        if start >= found:
            return


@nb.njit
def _add_narrow_rows(rows, active, pair, start, stop, out):  # type: ignore[no-untyped-def]
    width = out.shape[0]
    for first in range(0, width, BYTE_LANES):
        sums = byte_sums()
        for p in range(start // 2, (stop + 1) // 2):
            sums = add_byte_rows(
                sums, rows, active[2 * p] * width + first, active[2 * p + 1] * width + first,
                pair[p],
            )  # fmt: skip
        store_byte_sums(sums, out, first)


@nb.njit
def _add_two_rows(rows, active, count, start, out):  # type: ignore[no-untyped-def]
    """Two neurons whose counts alone exceed 16 bits."""
    width = out.shape[0]
    row0, row1 = active[start] * width, active[start + 1] * width
    for i in range(width):
        out[i] = count[start] * rows[row0 + i] + count[start + 1] * rows[row1 + i]


@nb.njit
def shift_to(value, exponent):  # type: ignore[no-untyped-def]
    """``network.shift`` for one number."""
    if exponent >= 0:
        return value << exponent
    return (value + (np.int64(1) << (-exponent - 1))) >> -exponent


@nb.njit
def add_shifted(change, total, exponent):  # type: ignore[no-untyped-def]
    """``change += shift(total, exponent)`` for a whole population, in 32 bits."""
    if exponent >= 0:
        for i in range(change.shape[0]):
            change[i] += total[i] << exponent
    else:
        half = np.int32(1 << (-exponent - 1))
        for i in range(change.shape[0]):
            change[i] += shift_right(np.int32(total[i] + half), np.int32(-exponent))


@nb.njit
def inhibit_itself(change, diagonal, active, count, found):  # type: ignore[no-untyped-def]
    """``change -= diagonal * z``."""
    for a in range(found):
        change[active[a]] -= diagonal[active[a]] * count[a]


@nb.njit
def integrate(u, change, clamps):  # type: ignore[no-untyped-def]
    """``u <- clamp(u + clamp(change, du_min, du_max), u_min, u_max)`` for a whole population."""
    u_min, u_max, du_min, du_max = clamps[0], clamps[1], clamps[2], clamps[3]
    for i in range(u.shape[0]):
        step = min(max(change[i], du_min), du_max)
        u[i] = min(max(np.int32(u[i] + step), u_min), u_max)
