"""The compiled heart: carries out a network's commands for a group of samples, step by step.

A network is a list of commands on places in an array of 32-bit cells, which holds the variables,
constants and sums of one sample. A group of samples advances together: their cells lie one after
the other, some ten kilobytes each, in the second-level cache. A command is a row of numbers, the
first of which is the address of a compiled function: one for each kind of connection, for packing
values and for drawing, shared by all networks, and the network's own programs (:mod:`programs`).
Commands of a sample that follow each other run sample by sample, so that its cells stay in the
first-level cache; commands of the group (:mod:`dense`) run once for all its samples, so that each
block of weights is fetched once for them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pvae_neuro.sim.fast.language import (
    Body,
    Value,
    function,
    int8_at,
    int16_at,
    int32_at,
    int64_at,
    select,
    smaller,
)
from pvae_neuro.sim.fast.memory import CELLS, GROUP, ROWS, SAMPLE, STEP, STRIDE

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

    cells: Any
    size: Any
    inputs: Any
    state: Any
    start: Any
    start_count: Any
    iteration: Any
    iteration_count: Any
    final: Any
    final_count: Any


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
    record_count, samples : Any
        Number of recorded variables; B.
    first_sample, first_step, iterations, steps : Any
        See :class:`~pvae_neuro.sim.engine.Block`.
    summary : Any
        See :class:`readout.Summary`; 0 where there is none.
    """

    state: Any
    inputs: Any
    records: Any
    record_count: Any
    samples: Any
    first_sample: Any
    first_step: Any
    iterations: Any
    steps: Any
    summary: Any


@function(7)
def advance(code: Body, *arguments: Value) -> int:
    """Advance samples ``first`` to ``last`` of a block, as a group, from ``start`` to ``stop``.

    Addresses of the numbers of :class:`Code` and :class:`Samples` and of the room; those samples
    and steps.
    """
    network_at, samples_at, room_at, first, last, start, stop = arguments
    network = Code(*(int64_at(network_at)[i] for i in range(len(Code._fields))))
    samples = Samples(*(int64_at(samples_at)[i] for i in range(len(Samples._fields))))
    room, rows = int64_at(room_at), last - first
    group, stride = room[GROUP], room[STRIDE]
    room[ROWS] = rows
    with code.loop(rows) as row:
        cells, state = group + row * stride, samples.state + 4 * (first + row) * network.state
        code.copy(network.cells, cells, 4 * network.size)
        code.copy(state, cells, 4 * network.state)
    changed = code.variable(1)
    with code.loop(start, stop) as step:
        room[STEP] = samples.first_step + step
        is_final = step == samples.steps - 1
        with code.when((step % samples.iterations == 0) & (step != samples.steps - 1)):
            frame = step // samples.iterations * samples.samples + first
            with code.loop(rows) as row:
                inputs = samples.inputs + 4 * (frame + row) * network.inputs
                code.copy(inputs, group + row * stride, 4 * network.inputs)
            changed.set(1)
        # First what depends on inputs, where they changed; then the iteration, or the end.
        with code.loop(select(changed != 0, 0, code.value(1)), 2) as part:
            at, count = (
                select(is_final, network.final, network.iteration),
                select(is_final, network.final_count, network.iteration_count),
            )
            _carry_out(
                code,
                select(part == 0, network.start, at),
                select(part == 0, network.start_count, count),
                room_at,
                samples.first_sample + first,
            )
        changed.set(0)
        with code.loop(rows) as row:
            room[CELLS] = group + row * stride
            _record(code, samples, first + row, step, group + row * stride)
            with code.when(samples.summary != 0):
                summarize = int64_at(samples.summary)[0]
                code.call(summarize, samples.summary, room_at, first + row, step, is_final)
    with code.loop(rows) as row:
        state = samples.state + 4 * (first + row) * network.state
        code.copy(group + row * stride, state, 4 * network.state)
    return 0


def _carry_out(code: Body, commands: Value, count: Value, room_at: Value, first: Value) -> None:
    """Carry out a list of commands for the samples of a group, the first of this number."""
    room, number, stop = int64_at(room_at), code.variable(0), code.variable(0)

    def at(number: Value) -> Value:
        return commands + 8 * COMMAND_WIDTH * number

    def for_group(number: Value) -> Value:
        # Behind the last command there is none of a sample.
        last = smaller(number, count - 1)
        return int64_at(at(last))[FOR_GROUP] != 0

    with code.loop_while(lambda: number < count):
        stop.set(number)
        with code.loop_while(lambda: (stop < count) & ~for_group(stop)):
            stop += 1
        with code.loop(room[ROWS]) as row:
            room[CELLS] = room[GROUP] + row * room[STRIDE]
            room[SAMPLE] = first + row
            with code.loop(number, stop) as k:
                code.call_command(at(k), room_at)
        with code.when(stop < count):
            code.call_command(at(stop), room_at)
        number.set(stop + 1)


def _record(code: Body, samples: Samples, b: Value, step: Value, cells: Value) -> None:
    """Write recorded variables of a sample, cut to their sizes."""
    with code.loop(samples.record_count) as number:
        which = int64_at(samples.records + 32 * number)
        record, size, place, n = (which[i] for i in range(4))
        source, target = cells + 4 * place, record + (b * samples.steps + step) * n * size
        with code.when(size == 4):
            code.copy(source, target, 4 * n)
        for bytes_, kind_at in ((1, int8_at), (2, int16_at)):
            with code.when(size == bytes_), code.loop(n) as i:
                kind_at(target)[i] = int32_at(source)[i]
