"""The compiled heart: carries out a network's commands for a group of samples, step by step.

A network is a list of commands on places in an array of 32-bit cells, which holds the variables,
constants and sums of one sample. A group of samples advances together: their cells lie one after the
other, some ten kilobytes each, in the second-level cache. A command is a row of numbers, the first of
which is the address of a compiled function: one for each kind of connection, for packing values and
for drawing, shared by all networks, and the network's own programs (:mod:`programs`). Commands of a
sample that follow each other run sample by sample, so that its cells stay in the first-level cache;
commands of the group (:mod:`dense`) run once for all its samples, so that each block of weights is
fetched once for them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pvae_neuro.sim.fast.memory import (
    CELLS,
    GROUP,
    ROWS,
    SAMPLE,
    STEP,
    STRIDE,
    compiled,
    inner,
    int16_at,
    int32_at,
    int64_at,
    uint8_at,
)
from pvae_neuro.sim.fast.vectors import call, call_command

# Numbers of a command; the last one is 1 where it is for the whole group.
COMMAND_WIDTH = 16
FOR_GROUP = COMMAND_WIDTH - 1


class Code(NamedTuple):
    """A network as the kernel reads it.

    Attributes
    ----------
    cells : int
        Address of the cells at the start, int32 [size]: constants at their places, variables at
        their initial values, zeros elsewhere.
    size, inputs, state : int
        Number of cells; of those of the inputs, and of all variables: both come first.
    start, start_count, iteration, iteration_count, final, final_count : int
        Addresses and numbers of commands: of what is done whenever inputs change or a chunk of
        steps begins; in every iteration; at the end.
    """

    cells: int
    size: int
    inputs: int
    state: int
    start: int
    start_count: int
    iteration: int
    iteration_count: int
    final: int
    final_count: int


class Samples(NamedTuple):
    """A block of samples: addresses of arrays, and numbers.

    Attributes
    ----------
    state : int32 [B, S]
        Variables, as they lie in the cells.
    inputs : int32 [F, B, I]
        Values of the inputs for each frame.
    records : int64 [variables, 4]
        Of recorded variables: address of the record, uint8, int16 or int32 [B, T + 1, n]; bytes of
        one value; place among the cells; n.
    record_count, samples : int
        Number of recorded variables; B.
    first_sample, first_step, iterations, steps : int
        See :class:`~pvae_neuro.sim.engine.Block`.
    summary : int
        See :class:`readout.Summary`; 0 where there is none.
    """

    state: int
    inputs: int
    records: int
    record_count: int
    samples: int
    first_sample: int
    first_step: int
    iterations: int
    steps: int
    summary: int


@inner
def _copy(source, target, n):  # type: ignore[no-untyped-def]
    """Copy int32 by their addresses."""
    values, out = int32_at(source), int32_at(target)
    for i in range(n):
        out[i] = values[i]


@inner
def _record(samples, b, step, cells):  # type: ignore[no-untyped-def]
    for number in range(samples[3]):
        which = int64_at(samples[2] + 32 * number)
        size, n = which[1], which[3]
        values = int32_at(cells + 4 * which[2])
        out = which[0] + (b * samples[8] + step) * n * size
        if size == 1:
            out8 = uint8_at(out)
            for i in range(n):
                out8[i] = values[i]
        elif size == 2:
            out16 = int16_at(out)
            for i in range(n):
                out16[i] = values[i]
        else:
            _copy(cells + 4 * which[2], out, n)


@inner
def _carry_out(commands, count, room, first_sample):  # type: ignore[no-untyped-def]
    """Carry out a list of commands for the samples of a group."""
    number = np.int64(0)
    while number < count:
        if int64_at(commands + 8 * COMMAND_WIDTH * number)[FOR_GROUP] != 0:
            call_command(int64_at(commands + 8 * COMMAND_WIDTH * number), room)
            number += 1
            continue
        stop = number
        while stop < count and int64_at(commands + 8 * COMMAND_WIDTH * stop)[FOR_GROUP] == 0:
            stop += 1
        for row in range(room[ROWS]):
            room[CELLS] = room[GROUP] + row * room[STRIDE]
            room[SAMPLE] = first_sample + row
            for k in range(number, stop):
                call_command(int64_at(commands + 8 * COMMAND_WIDTH * k), room)
        number = stop


@compiled(7)
def advance(code_at, samples_at, room_at, first, last, start, stop):  # type: ignore[no-untyped-def]
    """Advance the group of samples ``first`` to ``last`` of a block from step ``start`` to ``stop``.

    ``code`` and ``samples`` are the numbers of :class:`Code` and :class:`Samples`.
    """
    code, samples, room = int64_at(code_at), int64_at(samples_at), int64_at(room_at)
    summary, group, stride = samples[9], room[GROUP], room[STRIDE]
    room[ROWS] = last - first
    for b in range(first, last):
        cells = group + (b - first) * stride
        _copy(code[0], cells, code[1])
        _copy(samples[0] + 4 * b * code[3], cells, code[3])
    changed = True
    for step in range(start, stop):
        room[STEP] = samples[6] + step
        is_final = step == samples[8] - 1
        if not is_final and step % samples[7] == 0:
            for b in range(first, last):
                frame = step // samples[7] * samples[4] + b
                _copy(samples[1] + 4 * frame * code[2], group + (b - first) * stride, code[2])
            changed = True
        # First what depends on inputs, where they changed; then the iteration, or the end.
        for part in range(0 if changed else 1, 2):
            which = (8 if is_final else 6) if part else 4
            _carry_out(code[which], code[which + 1], room, samples[5] + first)
        changed = False
        for b in range(first, last):
            room[CELLS] = group + (b - first) * stride
            _record(samples, b, step, room[CELLS])
            if summary != 0:
                call(int64_at(summary)[0], summary, room_at, b, step, np.int64(is_final))
    for b in range(first, last):
        _copy(group + (b - first) * stride, samples[0] + 4 * b * code[3], code[3])
    return 0
