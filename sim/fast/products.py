"""Dense products with whole populations, by 16-bit digits.

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
