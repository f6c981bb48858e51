"""Compiled pieces that work on events: drawing counts, and adding the rows of active neurons.

All are inlined into the kernels of :mod:`recurrent` and :mod:`feedback`. Loops over neurons are
written so that the compiler turns them into vector instructions.
"""

from __future__ import annotations

import numba as nb
import numpy as np

INT16_MAX = (1 << 15) - 1
SURE_COMPARES = 4


@nb.njit
def draw_counts(u, words, first, threshold, sampler, active, count, row):  # type: ignore[no-untyped-def]
    """Sample every neuron; list the active ones and their counts.

    ``sampler`` is (u_min, row_bits, dither_bits); ``first`` the first column of ``threshold``.
    ``active`` and ``count`` have one entry more than neurons, so that the list can be written
    without a branch. Returns the number of active neurons.
    """
    u_min, row_bits = sampler[0], sampler[1]
    low_bits = np.int32((1 << sampler[2]) - 1)
    spread = np.int32(row_bits - sampler[2])
    for i in range(u.shape[0]):
        row[i] = (u[i] - u_min + ((np.int32(words[i]) & low_bits) << spread)) >> row_bits
    found = np.int64(0)
    for i in range(u.shape[0]):
        active[found] = i
        found += np.int64(words[i] > first[row[i]])
    most = threshold.shape[1]
    sure = min(SURE_COMPARES, most)
    for a in range(found):
        word, line = words[active[a]], row[active[a]]
        # Few counts are large: these compares need no branch, and the loop after them is rare.
        k = 1
        for j in range(1, sure):
            k += word > threshold[line, j]
        while k >= sure and k < most and word > threshold[line, k]:
            k += 1
        count[a] = k
    return found


@nb.njit
def add_rows(weight, mantissa_max, active, count, found, narrow, total):  # type: ignore[no-untyped-def]
    """``total[i] = sum over active j of count[j] * weight[j, i]`` with 8-bit rows.

    Sums of 16 bits are twice as fast as sums of 32. They are exact as long as the spikes added so
    far, times the largest mantissa, stay within 15 bits; then they are moved to ``total``.
    """
    size = total.shape[0]
    room = INT16_MAX // mantissa_max
    for i in range(size):
        total[i] = 0
        narrow[i] = 0
    used = 0
    a = 0
    while a < found:
        four = a + 3 < found
        spikes = count[a]
        if four:
            spikes += count[a + 1] + count[a + 2] + count[a + 3]
        if used + spikes > room:
            for i in range(size):
                total[i] += narrow[i]
                narrow[i] = 0
            used = 0
        if four and spikes <= room:
            j0, j1, j2, j3 = active[a], active[a + 1], active[a + 2], active[a + 3]
            z0, z1 = np.int16(count[a]), np.int16(count[a + 1])
            z2, z3 = np.int16(count[a + 2]), np.int16(count[a + 3])
            for i in range(size):
                narrow[i] = np.int16(
                    narrow[i]
                    + np.int16(z0 * np.int16(weight[j0, i]))
                    + np.int16(z1 * np.int16(weight[j1, i]))
                    + np.int16(z2 * np.int16(weight[j2, i]))
                    + np.int16(z3 * np.int16(weight[j3, i]))
                )
            used += spikes
            a += 4
        else:
            j0, z0 = active[a], np.int16(count[a])
            for i in range(size):
                narrow[i] = np.int16(narrow[i] + np.int16(z0 * np.int16(weight[j0, i])))
            used += count[a]
            a += 1
    for i in range(size):
        total[i] += narrow[i]


@nb.njit
def add_wide_rows(weight, active, count, found, total):  # type: ignore[no-untyped-def]
    """The same with 16-bit rows and 32-bit sums: the readout."""
    size = total.shape[0]
    for i in range(size):
        total[i] = 0
    a = 0
    while a + 1 < found:
        j0, j1 = active[a], active[a + 1]
        z0, z1 = np.int32(count[a]), np.int32(count[a + 1])
        for i in range(size):
            total[i] += z0 * np.int32(weight[j0, i]) + z1 * np.int32(weight[j1, i])
        a += 2
    if a < found:
        j0, z0 = active[a], np.int32(count[a])
        for i in range(size):
            total[i] += z0 * np.int32(weight[j0, i])


@nb.njit
def square_error(target, total, left):  # type: ignore[no-untyped-def]
    """Sum of ``(target - (total << left))**2`` in 64 bits."""
    error = np.int64(0)
    for i in range(target.shape[0]):
        difference = np.int64(target[i]) - (np.int64(total[i]) << left)
        error += difference * difference
    return error


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
            change[i] += (total[i] + half) >> -exponent


@nb.njit
def integrate(u, change, clamps):  # type: ignore[no-untyped-def]
    """``u <- clamp(u + clamp(change, du_min, du_max), u_min, u_max)`` for a whole population."""
    u_min, u_max, du_min, du_max = clamps[0], clamps[1], clamps[2], clamps[3]
    for i in range(u.shape[0]):
        step = min(max(change[i], du_min), du_max)
        u[i] = min(max(u[i] + step, u_min), u_max)


@nb.njit
def record_counts(active, count, found, most, sums, out):  # type: ignore[no-untyped-def]
    """Write spikes, active and saturated neurons to ``sums`` [3], counts to ``out`` [K]."""
    spikes, saturated = 0, 0
    for i in range(out.shape[0]):
        out[i] = 0
    for a in range(found):
        out[active[a]] = count[a]
        spikes += count[a]
        saturated += count[a] == most
    sums[0], sums[1], sums[2] = spikes, found, saturated
