"""Dense products with whole populations, by 16-bit digits.

Sums are of 32 bits, and may wrap while they are made: the proof of ranges keeps the finished ones
within 24 bits, and modulo 2**32 any order gives them.
"""

from __future__ import annotations

import numpy as np

from pvae_neuro.sim.fast.memory import CELLS, DIGIT, PART, command, inner, int8_at, int32_at
from pvae_neuro.sim.fast.vectors import PAIR_LANES, add_pairs, pair_sums, store_pair_sums

DIGIT_BITS = 16
# Two weights for each lane.
LINE = 2 * PAIR_LANES


@command
def multiply(command, room):  # type: ignore[no-untyped-def]
    """Place of the values; sources; digits; address of the weights; place of ``total``; width.

    ``total[k] = sum over m of values[m] * weight[k, m]``, digit by digit: one where all values fit
    16 bits, else two. For each block of ``PAIR_LANES`` targets and each pair of sources, the
    weights are those of the two sources, side by side for each target; the width is a multiple of
    ``PAIR_LANES``. Pairs of zeros are left out: rectifiers send many.
    """
    values, n, digits = int32_at(room[CELLS] + 4 * command[1]), command[2], command[3]
    weights, width = int8_at(command[4]), command[6]
    total, part = int32_at(room[CELLS] + 4 * command[5]), int32_at(room[PART])
    count = (n + 1) // 2
    pairs, lines = int32_at(room[DIGIT]), int32_at(room[DIGIT] + 4 * count)
    into = total
    for place in range(digits - 1, -1, -1):
        found = list_pairs(values, n, place * DIGIT_BITS, pairs, lines)
        block = np.int64(0)
        for first in range(0, width, PAIR_LANES):
            sums = pair_sums()
            for p in range(found):
                sums = add_pairs(sums, weights, block + lines[p], pairs[p])
            store_pair_sums(sums, into, first)
            block += count * LINE
        if place < digits - 1:
            for k in range(width):
                total[k] = (total[k] << DIGIT_BITS) + part[k]
        into = part


@inner
def list_pairs(values, n, shift, pairs, lines):  # type: ignore[no-untyped-def]
    """List a digit of all values, two side by side, where either is not zero; returns how many.

    ``lines`` says where the weights of a pair begin within a block.
    """
    # The lowest digit is signed, so that the other one rounds.
    half = np.int32((1 << shift) >> 1)
    found, line = np.int64(0), np.int32(0)
    for p in range(n // 2):
        pair = join(values[2 * p], values[2 * p + 1], half, shift)
        pairs[found] = pair
        lines[found] = line
        line += np.int32(LINE)
        found += np.int64(pair != 0)
    if n % 2:
        pairs[found] = join(values[n - 1], np.int32(0), half, shift) & 0xFFFF
        lines[found] = line
        found += 1
    return found


@inner
def join(first, second, half, shift):  # type: ignore[no-untyped-def]
    """The same digit of two values, as two numbers of 16 bits in one."""
    low, high = np.int32((first + half) >> shift), np.int32((second + half) >> shift)
    return np.int32(low & 0xFFFF) | np.int32(high << DIGIT_BITS)
