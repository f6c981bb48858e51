"""Dense products with whole populations, by 16-bit digits.

Sums are of 32 bits, and may wrap while they are made: the proof of ranges keeps the finished ones
within 24 bits, and modulo 2**32 any order gives them.
"""

from __future__ import annotations

from pvae_neuro.sim.fast.language import Array, Body, Value, command, int8_at, int32_at, select
from pvae_neuro.sim.fast.machine import I32
from pvae_neuro.sim.fast.memory import CELLS, DIGIT, PART
from pvae_neuro.sim.fast.vectors import PAIR_LANES, PairSums

DIGIT_BITS = 16
# Two weights for each lane.
LINE = 2 * PAIR_LANES


@command
def multiply(code: Body, command: Array, room: Array) -> None:
    """Place of the values; sources; digits; address of the weights; place of ``total``; width.

    ``total[k] = sum over m of values[m] * weight[k, m]``, digit by digit: one where all values fit
    16 bits, else two. For each block of ``PAIR_LANES`` targets and each pair of sources, the
    weights are those of the two sources, side by side for each target; the width is a multiple of
    ``PAIR_LANES``. Pairs of zeros are left out: rectifiers send many.
    """
    values, n, digits = int32_at(room[CELLS] + 4 * command[1]), command[2], command[3]
    weights, width, count = int8_at(command[4]), command[6], (n + 1) >> 1
    total, part = room[CELLS] + 4 * command[5], room[PART]
    pairs, lines = int32_at(room[DIGIT]), int32_at(room[DIGIT] + 4 * count)
    with code.loop(digits) as lower:
        # The highest digit comes first.
        shift = (digits - lower - 1) * DIGIT_BITS
        found = _list_pairs(code, values, n, shift.to(I32), pairs, lines)
        out, block = select(lower == 0, total, part), code.variable(0)
        with code.loop(0, width, PAIR_LANES) as first:
            sums = PairSums(code)
            with code.loop(found) as p:
                sums.add_weights(weights, block + lines[p], pairs[p])
            sums.store(int32_at(out), first)
            block += count * LINE
        with code.when(lower > 0), code.loop(width) as k:
            high = int32_at(total)[k] << DIGIT_BITS
            int32_at(total)[k] = high + int32_at(part)[k]


def _list_pairs(
    code: Body, values: Array, n: Value, shift: Value, pairs: Array, lines: Array
) -> Value:
    """List a digit of all values, two side by side, where either is not zero; returns how many.

    ``lines`` says where the weights of a pair begin within a block.
    """
    found, line = code.variable(0), code.variable(0, I32)
    with code.loop(n >> 1) as p:
        pair = join(values[2 * p], values[2 * p + 1], shift)
        pairs[found] = pair
        lines[found] = line
        line += LINE
        found += pair != 0
    with code.when((n & 1) != 0):
        pairs[found] = digit(values[n - 1], shift) & 0xFFFF
        lines[found] = line
        found += 1
    return found


def digit(value: Value, shift: Value) -> Value:
    """A digit of 16 bits: the lowest one is signed, so that the other one rounds."""
    half = (1 << shift) >> 1
    return (value + half) >> shift


def join(first: Value, second: Value, shift: Value) -> Value:
    """The same digit of two values, as two numbers of 16 bits in one."""
    return digit(first, shift) & 0xFFFF | digit(second, shift) << DIGIT_BITS
