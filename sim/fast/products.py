"""Products with whole populations: dense ones by 16-bit digits, and convolutions.

Sums are of 32 bits, and may wrap while they are made: the proof of ranges keeps the finished ones
within 24 bits, and modulo 2**32 any order gives them.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from pvae_neuro.sim.fast.vectors import PAIR_LANES, add_pairs, pair_sums, store_pair_sums

DIGIT_BITS = 16
# Two weights for each lane.
LINE = 2 * PAIR_LANES


@nb.njit
def multiply(values, digits, weights, first, digit, part, total):  # type: ignore[no-untyped-def]
    """``total[k] = sum over m of values[m] * weight[k, m]``, digit by digit.

    Parameters
    ----------
    values : int32 [sources]
    digits : int
        1 where all values fit 16 bits, else 2.
    weights : int8
        From ``first`` on, for each block of ``PAIR_LANES`` targets and each pair of sources: the
        two sources' weights side by side for each target.
    digit : int16 [2 ceil(sources / 2)]
    part, total : int32 [targets, padded to PAIR_LANES]
    """
    n, width = values.shape[0], total.shape[0]
    half = np.int32(1 << (DIGIT_BITS - 1))
    for i in range(n, digit.shape[0]):
        digit[i] = 0
    for place in range(digits - 1, -1, -1):
        for i in range(n):
            # The lowest digit is signed, so that the other one rounds.
            value = values[i]
            digit[i] = value if place == 0 else np.int32(value + half) >> DIGIT_BITS
        into = total if place == digits - 1 else part
        _multiply_digit(digit.view(np.int32), weights, first, into)
        if place < digits - 1:
            for k in range(width):
                total[k] = (total[k] << DIGIT_BITS) + part[k]


@nb.njit
def _multiply_digit(pairs, weights, first, out):  # type: ignore[no-untyped-def]
    for block in range(out.shape[0] // PAIR_LANES):
        base = first + block * pairs.shape[0] * LINE
        sums = pair_sums()
        for p in range(pairs.shape[0]):
            sums = add_pairs(sums, weights, base + p * LINE, pairs[p])
        store_pair_sums(sums, out, block * PAIR_LANES)


@nb.njit
def _reach(offset, stride, size, count):  # type: ignore[no-untyped-def]
    """First and last + 1 of ``count`` positions p with ``0 <= stride * p + offset < size``."""
    low = max(0, -(offset // stride))
    high = min(count, (size - 1 - offset) // stride + 1)
    return low, high


@nb.njit
def convolve(wide, narrow, weights, first, shape, transposed):  # type: ignore[no-untyped-def]
    """A convolution ``wide -> narrow``, or its transpose ``narrow -> wide``.

    Parameters
    ----------
    wide, narrow : int32
        Pictures, channel by channel.
    weights : int8
        From ``first`` on: narrow channel, wide channel, height, width.
    shape : int64
        Channels, height and width of the wide side and of the narrow one; kernel height and
        width, stride, padding.
    transposed : bool
    """
    channels, height, width = shape[0], shape[1], shape[2]
    maps, rows, columns = shape[3], shape[4], shape[5]
    kernel_height, kernel_width, stride, padding = shape[6], shape[7], shape[8], shape[9]
    if transposed:
        wide[:] = 0
    else:
        narrow[:] = 0
    place = first
    for o in range(maps):
        for c in range(channels):
            for i in range(kernel_height):
                top, bottom = _reach(i - padding, stride, height, rows)
                for j in range(kernel_width):
                    weight = np.int32(weights[place])
                    place += 1
                    if weight == 0:
                        continue
                    left, right = _reach(j - padding, stride, width, columns)
                    for y in range(top, bottom):
                        small = (o * rows + y) * columns
                        big = (c * height + y * stride + i - padding) * width + j - padding
                        if transposed:
                            for x in range(left, right):
                                wide[big + x * stride] += weight * narrow[small + x]
                        else:
                            for x in range(left, right):
                                narrow[small + x] += weight * wide[big + x * stride]
