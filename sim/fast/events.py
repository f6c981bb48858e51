"""Lists of active neurons, and sums over them: their rows of weights are added, no other is read.

A list is a part of the cells: how many are active; their numbers ``active``; their values
``count``; and ``pair``, which holds the values of two neurons in one number, for the vector
instructions.
Behind the active neurons stands one entry of value zero, so that they can be taken two at a time.
"""

from __future__ import annotations

import numpy as np

from pvae_neuro.sim.fast.layouts import CELLS_PER_LINE, padded_size
from pvae_neuro.sim.fast.memory import (
    CELLS,
    GROUP,
    PART,
    ROWS,
    STRIDE,
    command,
    inner,
    int8_at,
    int16_at,
    int32_at,
)
from pvae_neuro.sim.fast.vectors import (
    BYTE_LANES,
    WORD_LANES,
    add_byte_rows,
    add_word_rows,
    byte_sums,
    store_byte_sums,
    store_word_sums,
    word_sums,
)

INT16_MAX = (1 << 15) - 1
HEAD_BYTES = 4 * CELLS_PER_LINE


def list_stride(neurons: int) -> int:
    """Cells of each of a list's three arrays."""
    return padded_size(neurons + 2, CELLS_PER_LINE)


def list_cells(neurons: int) -> int:
    """Cells of a list."""
    return CELLS_PER_LINE + 3 * list_stride(neurons)


@inner
def list_active(values, n, at, stride):  # type: ignore[no-untyped-def]
    """List those of n int32 values that are not zero."""
    active, count = int32_at(at + HEAD_BYTES), int32_at(at + HEAD_BYTES + 4 * stride)
    found = np.int64(0)
    for i in range(n):
        active[found] = i
        count[found] = values[i]
        found += np.int64(values[i] != 0)
    close_list(at, stride, found)


@inner
def close_list(at, stride, found):  # type: ignore[no-untyped-def]
    """Finish a list of which ``active`` and ``count`` are there."""
    active, count = int32_at(at + HEAD_BYTES), int32_at(at + HEAD_BYTES + 4 * stride)
    pair = int32_at(at + HEAD_BYTES + 8 * stride)
    int32_at(at)[0] = found
    active[found] = 0
    count[found] = 0
    for p in range((found + 1) // 2):
        pair[p] = (count[2 * p] & 0xFFFF) | (count[2 * p + 1] << 16)


@command
def list_values(command, room):  # type: ignore[no-untyped-def]
    """Place of the values; neurons; place of the list, its stride."""
    values = int32_at(room[CELLS] + 4 * command[1])
    list_active(values, command[2], room[CELLS] + 4 * command[3], command[4])


@command
def add_events(command, room):  # type: ignore[no-untyped-def]
    """List, its stride; addresses of the weights and of ``largest``; place of ``total``; width.

    ``total[i] = sum over active j of count[j] * weights[j * width + i]`` with rows of bytes, counts
    in 0 .. 255, and the width a multiple of ``BYTE_LANES``. Sums of 16 bits are exact as long as
    the counts, each times the largest weight of its row, add up to 15 bits. The list is cut where
    they would not; ``part`` holds the sums of a cut.
    """
    at, stride, width = room[CELLS] + 4 * command[1], command[2], command[6]
    found = np.int64(int32_at(at)[0])
    active, count = int32_at(at + HEAD_BYTES), int32_at(at + HEAD_BYTES + 4 * stride)
    pair = int32_at(at + HEAD_BYTES + 8 * stride)
    weights, largest = int8_at(command[3]), int32_at(command[4])
    total, part = int32_at(room[CELLS] + 4 * command[5]), int32_at(room[PART])
    start, into = 0, total
    while True:
        stop, reach = start, 0
        while stop < found:
            reach += count[stop] * largest[active[stop]]
            reach += count[stop + 1] * largest[active[stop + 1]]
            if reach > INT16_MAX:
                break
            stop += 2
        if stop == start and start < found:
            # Two neurons whose counts alone exceed 16 bits.
            stop += 2
            row0, row1 = active[start] * width, active[start + 1] * width
            count0, count1 = count[start], count[start + 1]
            for i in range(width):
                into[i] = count0 * weights[row0 + i] + count1 * weights[row1 + i]
        else:
            for first in range(0, width, BYTE_LANES):
                sums = byte_sums()
                for p in range(start // 2, (stop + 1) // 2):
                    row0, row1 = first + active[2 * p] * width, first + active[2 * p + 1] * width
                    sums = add_byte_rows(sums, weights, row0, row1, pair[p])
                store_byte_sums(sums, into, first)
        if start > 0:
            for i in range(width):
                total[i] += part[i]
        start, into = stop, part
        if start >= found:
            return


@command
def add_word_events(command, room):  # type: ignore[no-untyped-def]
    """List, its stride; address of the weights; place of ``total``; width; sources: for the group.

    Weights, int16: for each block of ``WORD_LANES`` targets a row for each source. A block is fetched
    once for all samples, and stays in the first-level cache meanwhile.
    """
    stride, weights, width = command[2], int16_at(command[3]), command[5]
    for first in range(0, width, WORD_LANES):
        base = first * command[6]
        for row in range(room[ROWS]):
            cells = room[GROUP] + row * room[STRIDE]
            at = cells + 4 * command[1]
            active, pair = int32_at(at + HEAD_BYTES), int32_at(at + HEAD_BYTES + 8 * stride)
            sums = word_sums()
            for p in range((np.int64(int32_at(at)[0]) + 1) // 2):
                row0 = base + np.int64(active[2 * p]) * WORD_LANES
                row1 = base + np.int64(active[2 * p + 1]) * WORD_LANES
                sums = add_word_rows(sums, weights, row0, row1, pair[p])
            store_word_sums(sums, int32_at(cells + 4 * command[4]), first)
