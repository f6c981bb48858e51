"""Lists of active neurons, and sums over them: their rows of weights are added, no other is read.

A list is a part of the cells: how many are active; their numbers ``active``; their values
``count``; and ``pair``, which holds the values of two neurons in one number, for the vector
instructions.
Behind the active neurons stands one entry of value zero, so that they can be taken two at a time.
"""

from __future__ import annotations

from pvae_neuro.sim.fast.candidates import list_nonzero
from pvae_neuro.sim.fast.language import (
    Array,
    Body,
    Value,
    command,
    int8_at,
    int16_at,
    int32_at,
    int64_at,
)
from pvae_neuro.sim.fast.layouts import CELLS_PER_LINE, INT16_MAX, padded_size
from pvae_neuro.sim.fast.machine import I32, I64
from pvae_neuro.sim.fast.memory import CELLS, GROUP, PART, ROWS, STRIDE
from pvae_neuro.sim.fast.vectors import BYTE_LANES, WORD_LANES, ByteSums, WordSums

HEAD_BYTES = 4 * CELLS_PER_LINE


def list_stride(neurons: int) -> int:
    """Cells of each of a list's three arrays."""
    return padded_size(neurons + 2, CELLS_PER_LINE)


def list_cells(neurons: int) -> int:
    """Cells of a list."""
    return CELLS_PER_LINE + 3 * list_stride(neurons)


def list_at(at: Value, stride: Value) -> tuple[Array, Array, Array]:
    """``active``, ``count`` and ``pair`` of the list at an address."""
    active, count, pair = (int32_at(at + HEAD_BYTES + 4 * part * stride) for part in range(3))
    return active, count, pair


def close_list(code: Body, at: Value, stride: Value, found: Value) -> None:
    """Finish a list of which ``active`` and ``count`` are there."""
    active, count, pair = list_at(at, stride)
    int32_at(at)[0] = found
    active[found] = 0
    count[found] = 0
    # Two values are one number of 64 bits. Arrays are whole cache lines, behind the end as well.
    both = int64_at(at + HEAD_BYTES + 4 * stride)
    with code.loop(0, (found + 1) >> 1, CELLS_PER_LINE // 2) as p:
        values = both.line(p, CELLS_PER_LINE // 2)
        pair.set_line(p, values & 0xFFFF | values >> 16 & 0xFFFF0000)


@command
def list_values(code: Body, command: Array, room: Array) -> None:
    """Place of the values; neurons; place of the list, its stride: those that are not zero."""
    values, at = int32_at(room[CELLS] + 4 * command[1]), room[CELLS] + 4 * command[3]
    active, count, _ = list_at(at, command[4])
    found = list_nonzero(code, values, command[2], active, count)
    close_list(code, at, command[4], found)


@command
def add_events(code: Body, command: Array, room: Array) -> None:
    """List, its stride; addresses of the weights and of ``largest``; place of ``total``; width.

    ``total[i] = sum over active j of count[j] * weights[j * width + i]`` with rows of bytes, counts
    in 0 .. 255, and the width a multiple of ``BYTE_LANES``. Sums of 16 bits are exact as long as
    the counts, each times the largest weight of its row, add up to 15 bits. The list is cut where
    they would not; ``part`` holds the sums of a cut.
    """
    at, stride, width = room[CELLS] + 4 * command[1], command[2], command[6]
    active, count, pair = list_at(at, stride)
    weights, largest = int8_at(command[3]), int32_at(command[4])
    total, part = room[CELLS] + 4 * command[5], room[PART]
    found = int32_at(at)[0].to(I64)
    start, stop, into = code.variable(0), code.variable(0), code.variable(total)
    # Until all are added, but at least once.
    with code.loop_while(lambda: (start < found) | (into == total)):
        reach = code.variable(0, I32)
        with code.loop_while(lambda: (stop < found) & (reach <= INT16_MAX)):
            for odd in (0, 1):
                reach += count[stop + odd] * largest[active[stop + odd]]
            stop += 2
        with code.when(reach > INT16_MAX):
            stop -= 2
        with code.cases((stop == start) & (start < found)) as (too_large, fit):
            with too_large:
                _add_two(code, (active, count), start, weights, int32_at(into), width)
                stop += 2
            with fit, code.loop(0, width, BYTE_LANES) as first:
                sums = ByteSums(code)
                with code.loop(start >> 1, (stop + 1) >> 1) as p:
                    places = [first + active[2 * p + odd] * width for odd in (0, 1)]
                    sums.add(weights, places, pair[p])
                sums.store(int32_at(into), first)
        with code.when(start > 0), code.loop(width) as i:
            int32_at(total)[i] += int32_at(part)[i]
        start.set(stop)
        into.set(part)


def _add_two(
    code: Body, listed: tuple[Array, Array], at: Value, weights: Array, out: Array, width: Value
) -> None:
    """Sums of two neurons whose counts alone exceed 16 bits."""
    active, count = listed
    factors, rows = [count[at], count[at + 1]], [active[at] * width, active[at + 1] * width]
    with code.loop(width) as i:
        products = [x * weights[row + i] for x, row in zip(factors, rows, strict=True)]
        out[i] = products[0] + products[1]


@command
def add_word_events(code: Body, command: Array, room: Array) -> None:
    """List, its stride; address of the weights; place of ``total``; width; sources: for the group.

    Weights, int16: for each block of ``WORD_LANES`` targets a row for each source. A block is
    fetched once for all samples, and stays in the first-level cache meanwhile.
    """
    weights, lists, total = int16_at(command[3]), 4 * command[1], 4 * command[4]
    with code.loop(0, command[5], WORD_LANES) as first, code.loop(room[ROWS]) as row:
        cells = room[GROUP] + row * room[STRIDE]
        active, _, pair = list_at(cells + lists, command[2])
        sums = WordSums(code)
        with code.loop((int32_at(cells + lists)[0] + 1) >> 1) as p:
            places = [first * command[6] + active[2 * p + i].to(I64) * WORD_LANES for i in (0, 1)]
            sums.add(weights, places, pair[p])
        sums.store(int32_at(cells + total), first)
