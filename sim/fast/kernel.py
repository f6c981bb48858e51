"""The compiled heart: carries out a network's commands, sample by sample, step by step.

A network is a list of commands on places in one array of 32-bit cells, which holds the variables,
constants and sums of one sample: a few ten kilobytes, which stay in the first- and second-level
caches while all steps of a chunk run. A command is a row of numbers, the first of which is the
address of a compiled function: one function for each kind of connection and for drawing, shared by
all networks, and the network's own programs (:mod:`programs`). What a call costs is nothing beside
the loop over neurons that it runs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pvae_neuro.sim.fast.memory import (
    CELLS,
    SAMPLE,
    STEP,
    compiled,
    inner,
    int16_at,
    int32_at,
    int64_at,
    uint8_at,
)
from pvae_neuro.sim.fast.readout import STEPS_TOGETHER
from pvae_neuro.sim.fast.vectors import call, call_command

# Numbers of a command.
COMMAND_WIDTH = 16


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


@compiled(7)
def advance(code_at, samples_at, room_at, first, last, start, stop):  # type: ignore[no-untyped-def]
    """Advance samples ``first`` to ``last`` of a block from step ``start`` to ``stop``.

    ``code`` and ``samples`` are the numbers of :class:`Code` and :class:`Samples`.
    """
    code, samples, room = int64_at(code_at), int64_at(samples_at), int64_at(room_at)
    cells, summary = room[CELLS], samples[9]
    _copy(code[0], cells, code[1])
    for b in range(first, last):
        state = samples[0] + 4 * b * code[3]
        _copy(state, cells, code[3])
        room[SAMPLE] = samples[5] + b
        waiting, changed = np.int64(0), True
        for step in range(start, stop):
            room[STEP] = samples[6] + step
            is_final = step == samples[8] - 1
            if not is_final and step % samples[7] == 0:
                frame = step // samples[7] * samples[4] + b
                _copy(samples[1] + 4 * frame * code[2], cells, code[2])
                changed = True
            # First what depends on inputs, where they changed; then the iteration, or the end.
            for part in range(0 if changed else 1, 2):
                which = (8 if is_final else 6) if part else 4
                for number in range(code[which + 1]):
                    call_command(int64_at(code[which] + 8 * COMMAND_WIDTH * number), room)
            changed = False
            _record(samples, b, step, cells)
            if summary != 0:
                function = int64_at(summary)[0]
                call(function, summary, room_at, b, step, waiting)
                waiting += 1
                if waiting == STEPS_TOGETHER or step == stop - 1:
                    call(function, summary, room_at, b, step, -waiting)
                    waiting = np.int64(0)
        _copy(cells, state, code[3])
    return 0
