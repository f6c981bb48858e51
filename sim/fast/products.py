"""Products with whole populations: dense ones by 16-bit digits, and convolutions.

Sums are of 32 bits, and may wrap while they are made: the proof of ranges keeps the finished ones
within 24 bits, and modulo 2**32 any order gives them.
"""

from __future__ import annotations

import numpy as np

from pvae_neuro.sim.fast.memory import (
    CELLS,
    DIGIT,
    PART,
    command,
    inner,
    int8_at,
    int16_at,
    int32_at,
)
from pvae_neuro.sim.fast.vectors import (
    PAIR_LANES,
    add_pairs,
    load_pair,
    pair_sums,
    store_pair_sums,
)

DIGIT_BITS = 16
# Two weights for each lane.
LINE = 2 * PAIR_LANES


@command
def multiply(command, room):  # type: ignore[no-untyped-def]
    """Place of the values; sources; digits; address of the weights; place of ``total``; width.

    ``total[k] = sum over m of values[m] * weight[k, m]``, digit by digit: one where all values fit
    16 bits, else two. For each block of ``PAIR_LANES`` targets and each pair of sources, the
    weights are those of the two sources, side by side for each target; the width is a multiple of
    ``PAIR_LANES``.
    """
    values, n, digits = int32_at(room[CELLS] + 4 * command[1]), command[2], command[3]
    weights, width = int8_at(command[4]), command[6]
    total, part = int32_at(room[CELLS] + 4 * command[5]), int32_at(room[PART])
    digit = int16_at(room[DIGIT])
    half = np.int32(1 << (DIGIT_BITS - 1))
    digit[n] = 0
    into = total
    for place in range(digits - 1, -1, -1):
        if place == 0:
            # The lowest digit is signed, so that the other one rounds.
            for i in range(n):
                digit[i] = values[i]
        else:
            for i in range(n):
                digit[i] = (values[i] + half) >> DIGIT_BITS
        line = np.int64(0)
        for first in range(0, width, PAIR_LANES):
            sums = pair_sums()
            for p in range((n + 1) // 2):
                sums = add_pairs(sums, weights, line, load_pair(digit, 2 * p))
                line += LINE
            store_pair_sums(sums, into, first)
        if place < digits - 1:
            for k in range(width):
                total[k] = (total[k] << DIGIT_BITS) + part[k]
        into = part


@inner
def _low(offset, stride):  # type: ignore[no-untyped-def]
    """First position p with ``stride * p + offset >= 0``."""
    return 0 if offset >= 0 else -(offset // stride)


@inner
def _high(offset, stride, size, count):  # type: ignore[no-untyped-def]
    """Last + 1 of ``count`` positions p with ``stride * p + offset < size``."""
    reach = (size - 1 - offset) // stride + 1
    return count if count < reach else reach


@command
def convolve(command, room):  # type: ignore[no-untyped-def]
    """Whether transposed; places of the wide and of the narrow side; address of the weights; shape.

    A convolution ``wide -> narrow``, or its transpose ``narrow -> wide``. The shape is channels,
    height and width of the wide side and of the narrow one; kernel height and width, stride,
    padding. Weights: narrow channel, wide channel, height, width.
    """
    transposed = command[1]
    wide, narrow = int32_at(room[CELLS] + 4 * command[2]), int32_at(room[CELLS] + 4 * command[3])
    weights = int8_at(command[4])
    channels, height, width = command[5], command[6], command[7]
    maps, rows, columns = command[8], command[9], command[10]
    kernel_height, kernel_width, stride, padding = (
        command[11], command[12], command[13], command[14]
    )  # fmt: skip
    out, size = narrow, maps * rows * columns
    if transposed:
        out, size = wide, channels * height * width
    for k in range(size):
        out[k] = 0
    place = np.int64(0)
    for o in range(maps):
        for c in range(channels):
            for i in range(kernel_height):
                top, bottom = _low(i - padding, stride), _high(i - padding, stride, height, rows)
                for j in range(kernel_width):
                    weight = np.int32(weights[place])
                    place += 1
                    left = _low(j - padding, stride)
                    count = _high(j - padding, stride, width, columns) - left
                    for y in range(top, bottom):
                        small = (o * rows + y) * columns + left
                        big = (c * height + y * stride + i - padding) * width + j - padding
                        big += left * stride
                        if transposed:
                            _add_row(wide, big, stride, narrow, small, 1, weight, count)
                        else:
                            _add_row(narrow, small, 1, wide, big, stride, weight, count)


@inner
def _add_row(out, to, step, values, first, stride, weight, count):  # type: ignore[no-untyped-def]
    """``out[to + step x] += weight * values[first + stride x]``."""
    for x in range(count):
        out[to + step * x] += weight * values[first + stride * x]
