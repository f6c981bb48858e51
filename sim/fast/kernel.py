"""The compiled heart: carries out a network's commands, sample by sample, step by step.

A network is a list of commands on places in one array of 32-bit cells, which holds the variables,
constants and sums of one sample: a few ten kilobytes, which stay in the first- and second-level
caches while all steps of a chunk run. What a command costs to read is nothing beside the loop over
neurons that it stands for, so this code is the same for all networks and is compiled once; a
network's own programs are called by their address (:mod:`programs`).
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from pvae_neuro.sim.fast.compiled import compiled
from pvae_neuro.sim.fast.events import add_rows, list_active, pair_counts
from pvae_neuro.sim.fast.philox import fill_words
from pvae_neuro.sim.fast.products import convolve, multiply
from pvae_neuro.sim.fast.readout import (
    STEPS_TOGETHER,
    empty_ring,
    keep_list,
    read_out,
    record_sums,
)
from pvae_neuro.sim.fast.sampling import Room, Table, draw_counts
from pvae_neuro.sim.fast.vectors import call_loop

# Numbers of a command; the first one says which it is. `plan.py` says what the others mean.
COMMAND_WIDTH = 16
NOISE, DRAW, LIST, LOOP, EVENTS, DIGITS, CONVOLUTION, TRANSPOSED = range(8)


class Code(NamedTuple):
    """A network as the kernel reads it; addresses in ``LOOP`` commands are of this process.

    Attributes
    ----------
    cells : int32
        Constants at their places, variables at their initial values, zeros elsewhere.
    start, iteration, final : int64 [commands, COMMAND_WIDTH]
        What is done whenever inputs change or a chunk of steps begins; in every iteration; at the
        end.
    given : int64
        Arguments of loops.
    lists : int64 [lists, 4]
        Places of a list's ``active``, ``count`` and ``pair``, and the number of neurons.
    sampler : int64 [draws, 8]
        See :func:`draw_counts`.
    tables : Table
    inverse : int64
    weights : int8
    sizes : int64 [8]
        Cells of the inputs, of all variables; largest number of blocks of noise, of neurons, of
        sums, of sources in digits; number of the list that is read out; largest count.
    """

    cells: NDArray[np.int32]
    start: NDArray[np.int64]
    iteration: NDArray[np.int64]
    final: NDArray[np.int64]
    given: NDArray[np.int64]
    lists: NDArray[np.int64]
    sampler: NDArray[np.int64]
    tables: Table
    inverse: NDArray[np.int64]
    weights: NDArray[np.int8]
    sizes: NDArray[np.int64]


class Samples(NamedTuple):
    """State of a block of samples.

    Attributes
    ----------
    state : int32 [B, S]
        Variables, as they lie in the cells.
    inputs : int32 [F, B, I]
        Values of the inputs for each frame.
    target : int32 [B, F, M]
        Encoded pixels in the unit of the readout.
    seed : uint64
    first_sample, first_step : int
    iterations : int
        For each frame.
    steps : int
        T + 1.
    target_iterations : int
        Iterations for each frame of the target.
    """

    state: NDArray[np.int32]
    inputs: NDArray[np.int32]
    target: NDArray[np.int32]
    seed: np.uint64
    first_sample: int
    first_step: int
    iterations: int
    steps: int
    target_iterations: int


class Records(NamedTuple):
    """Where a block is recorded.

    Attributes
    ----------
    bytes, words, longs : uint8, int16, int32 [B, T + 1, n]
        Recorded variables of each type, side by side.
    which : int64 [variables, 4]
        Type (0, 1, 2), place among the cells, place in the record, neurons.
    sums : int64 [B, T + 1, 3] or [B, 0, 3]
        Spikes, active neurons, neurons at the largest count.
    error : int64 [B, T + 1] or [B, 0]
    """

    bytes: NDArray[np.uint8]
    words: NDArray[np.int16]
    longs: NDArray[np.int32]
    which: NDArray[np.int64]
    sums: NDArray[np.int64]
    error: NDArray[np.int64]


class Scratch(NamedTuple):
    """Room for one sample, made once per call of the kernel.

    Attributes
    ----------
    cells : int32
    found : int64 [lists]
    raw : uint64
        Noise.
    words : uint16
        The same.
    room : Room
    digit : int16
    part : int32
    """

    cells: NDArray[np.int32]
    found: NDArray[np.int64]
    raw: NDArray[np.uint64]
    words: NDArray[np.uint16]
    room: Room
    digit: NDArray[np.int16]
    part: NDArray[np.int32]


@nb.njit
def _scratch(code):  # type: ignore[no-untyped-def]
    sizes = code.sizes
    raw = np.zeros(4 * sizes[2], np.uint64)
    room = Room(np.empty(sizes[3], np.int32), np.empty(sizes[3], np.uint8), np.empty(256, np.int64))
    return Scratch(
        code.cells.copy(),
        np.zeros(code.lists.shape[0], np.int64),
        raw,
        raw.view(np.uint16),
        room,
        np.zeros(sizes[5], np.int16),
        np.empty(sizes[4], np.int32),
    )


@nb.njit
def _list(command, code, scratch):  # type: ignore[no-untyped-def]
    """Arrays ``active``, ``count`` and ``pair`` of a list."""
    cells, place = scratch.cells, code.lists[command]
    n = place[3]
    active = cells[place[0] : place[0] + n + 2]
    count = cells[place[1] : place[1] + n + 2]
    pair = cells[place[2] : place[2] + n // 2 + 1]
    return active, count, pair


@nb.njit
def _draw(command, code, scratch):  # type: ignore[no-untyped-def]
    """DRAW: place of the log-rate, of the counts; neurons; skipped words; sampler; list."""
    cells, n = scratch.cells, command[3]
    active, count, pair = _list(command[6], code, scratch)
    found = draw_counts(
        cells[command[1] : command[1] + n],
        cells[command[2] : command[2] + n],
        scratch.words[command[4] : command[4] + n],
        active,
        count,
        code.tables,
        code.inverse,
        code.sampler[command[5]],
        scratch.room,
    )
    pair_counts(count, found, pair)
    scratch.found[command[6]] = found


@nb.njit
def _relist(command, code, scratch):  # type: ignore[no-untyped-def]
    """LIST: place of the values; list."""
    active, count, pair = _list(command[2], code, scratch)
    n = code.lists[command[2], 3]
    found = list_active(scratch.cells[command[1] : command[1] + n], active, count)
    pair_counts(count, found, pair)
    scratch.found[command[2]] = found


@nb.njit
def _add_events(command, code, scratch):  # type: ignore[no-untyped-def]
    """EVENTS: list; first weight; place of the rows' largest weights, of the sums; width."""
    cells, width = scratch.cells, command[5]
    active, count, pair = _list(command[1], code, scratch)
    add_rows(
        code.weights,
        command[2],
        width,
        cells[command[3] : command[3] + code.lists[command[1], 3]],
        active,
        count,
        pair,
        scratch.found[command[1]],
        scratch.part,
        cells[command[4] : command[4] + width],
    )


@nb.njit
def _add_digits(command, code, scratch):  # type: ignore[no-untyped-def]
    """DIGITS: place of the values; sources; digits; first weight; place of the sums; width."""
    cells, n = scratch.cells, command[2]
    multiply(
        cells[command[1] : command[1] + n],
        command[3],
        code.weights,
        command[4],
        scratch.digit[: n + n % 2],
        scratch.part[: command[6]],
        cells[command[5] : command[5] + command[6]],
    )


@nb.njit
def _convolve(command, code, scratch):  # type: ignore[no-untyped-def]
    """CONVOLUTION, TRANSPOSED: place of the wide side, of the narrow side; first weight; shape."""
    cells, shape = scratch.cells, command[4:]
    wide = cells[command[1] : command[1] + shape[0] * shape[1] * shape[2]]
    narrow = cells[command[2] : command[2] + shape[3] * shape[4] * shape[5]]
    convolve(wide, narrow, code.weights, command[3], shape, command[0] == TRANSPOSED)


@nb.njit
def _run(commands, code, scratch, seed, step, sample):  # type: ignore[no-untyped-def]
    for number in range(commands.shape[0]):
        command = commands[number]
        kind = command[0]
        if kind == LOOP:
            # Address; first argument; first word; neurons.
            call_loop(
                command[1], scratch.cells, scratch.words, command[3], code.given, command[2],
                command[4],
            )  # fmt: skip
        elif kind == EVENTS:
            _add_events(command, code, scratch)
        elif kind == DIGITS:
            _add_digits(command, code, scratch)
        elif kind == DRAW:
            _draw(command, code, scratch)
        elif kind == NOISE:
            # Stream; first block; blocks.
            fill_words(scratch.raw, command[3], seed, step, sample, command[1], command[2])
        elif kind == LIST:
            _relist(command, code, scratch)
        else:
            _convolve(command, code, scratch)


@nb.njit
def _record(records, b, step, cells):  # type: ignore[no-untyped-def]
    for number in range(records.which.shape[0]):
        kind, place, first, n = records.which[number]
        for i in range(n):
            value = cells[place + i]
            if kind == 0:
                records.bytes[b, step, first + i] = value
            elif kind == 1:
                records.words[b, step, first + i] = value
            else:
                records.longs[b, step, first + i] = value


@nb.njit
def _run_sample(b, code, samples, records, readout, ring, scratch, start, stop):  # type: ignore[no-untyped-def]
    """One sample of :func:`advance`."""
    cells, state = scratch.cells, samples.state[b]
    inputs = samples.inputs.shape[2]
    summary = records.sums.shape[1] > 0
    cells[: state.shape[0]] = state
    changed, n = True, 0
    for step in range(start, stop):
        is_final = step == samples.steps - 1
        if not is_final and step % samples.iterations == 0:
            cells[:inputs] = samples.inputs[step // samples.iterations, b]
            changed = True
        sample, number = samples.first_sample + b, samples.first_step + step
        if changed:
            _run(code.start, code, scratch, samples.seed, number, sample)
            changed = False
        commands = code.final if is_final else code.iteration
        _run(commands, code, scratch, samples.seed, number, sample)
        _record(records, b, step, cells)
        if summary:
            active, count, pair = _list(code.sizes[6], code, scratch)
            found = scratch.found[code.sizes[6]]
            keep_list(ring, n, active, pair, found)
            record_sums(records.sums[b, step], count, found, code.sizes[7])
            n += 1
            if n == STEPS_TOGETHER or step == stop - 1:
                read_out(
                    readout, samples.target[b], ring, n, records.error[b], step,
                    samples.target_iterations,
                )
                n = 0
    state[:] = cells[: state.shape[0]]


@compiled
def advance(code, samples, records, readout, first, last, start, stop):  # type: ignore[no-untyped-def]
    """Advance samples ``first`` to ``last`` of a block from step ``start`` to ``stop``."""
    scratch = _scratch(code)
    ring = empty_ring(code.sizes[3], samples.target.shape[2])
    for b in range(first, last):
        _run_sample(b, code, samples, records, readout, ring, scratch, start, stop)
