"""Sums over active neurons: their rows of weights are added, and no other is read.

A list of active neurons is ``active`` (their numbers) and ``count`` (their values), ``found`` of
them, and behind those one entry of value zero, so that neurons can be taken two at a time; ``pair``
holds the values of two neurons in one number, for the vector instructions.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from pvae_neuro.sim.fast.vectors import BYTE_LANES, add_byte_rows, byte_sums, store_byte_sums

INT16_MAX = (1 << 15) - 1


@nb.njit
def list_active(values, active, count):  # type: ignore[no-untyped-def]
    """List the values that are not zero; returns how many."""
    found = np.uint64(0)
    for i in range(values.shape[0]):
        active[found] = i
        count[found] = values[i]
        found += np.uint64(values[i] != 0)
    active[found], count[found] = 0, 0
    return np.int64(found)


@nb.njit
def pair_counts(count, found, pair):  # type: ignore[no-untyped-def]
    """Pack the values of two neurons, of 16 bits each, into one number."""
    for p in range((found + 1) // 2):
        pair[p] = (count[2 * p] & 0xFFFF) | (count[2 * p + 1] << 16)


@nb.njit
def add_rows(weights, first, width, largest, active, count, pair, found, part, total):  # type: ignore[no-untyped-def]
    """``total[i] = sum over active j of count[j] * weight[j, i]`` with rows of bytes.

    Sums of 16 bits are exact as long as the counts, each times the largest weight of its row, add
    up to 15 bits. The list is cut where they would not; ``part`` holds the sums of a cut.

    Parameters
    ----------
    weights : int8
        The row of neuron j begins at ``first + j * width``.
    width : int
        A multiple of ``BYTE_LANES``.
    largest : int32 [sources]
        Largest absolute weight of each row.
    active, count, pair, found
        A list; counts in 0 .. 255.
    part, total : int32 [width]
    """
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
            _add_two_rows(weights, first, width, active, count, start, into)
        else:
            _add_narrow_rows(weights, first, width, active, pair, start, stop, into)
        if start > 0:
            for i in range(width):
                total[i] += part[i]
        start = stop
        if start >= found:
            return


@nb.njit
def _add_narrow_rows(weights, first, width, active, pair, start, stop, out):  # type: ignore[no-untyped-def]
    for lane in range(0, width, BYTE_LANES):
        sums = byte_sums()
        base = first + lane
        for p in range(start // 2, (stop + 1) // 2):
            sums = add_byte_rows(
                sums, weights, base + active[2 * p] * width, base + active[2 * p + 1] * width,
                pair[p],
            )  # fmt: skip
        store_byte_sums(sums, out, lane)


@nb.njit
def _add_two_rows(weights, first, width, active, count, start, out):  # type: ignore[no-untyped-def]
    """Two neurons whose counts alone exceed 16 bits."""
    row0, row1 = first + active[start] * width, first + active[start + 1] * width
    for i in range(width):
        out[i] = count[start] * weights[row0 + i] + count[start + 1] * weights[row1 + i]
