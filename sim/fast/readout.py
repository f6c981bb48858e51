"""Figures of every iteration: sums of counts, and the squared error of their reconstruction.

The error of a reconstruction changes nothing in the network, so the lists of active neurons of some
steps are kept and read out together: each block of readout weights is then fetched once for all of
them, and stays in the first-level cache meanwhile. Where the network computes the picture itself,
there is nothing to keep.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pvae_neuro.sim.fast.events import HEAD_BYTES, list_active
from pvae_neuro.sim.fast.layouts import CELLS_PER_LINE, padded_size
from pvae_neuro.sim.fast.memory import CELLS, RING, compiled, inner, int16_at, int32_at, int64_at
from pvae_neuro.sim.fast.vectors import WORD_LANES, add_word_rows, call, store_word_sums, word_sums

# Steps that are read out together.
STEPS_TOGETHER = 16


class Ring(NamedTuple):
    """Lists of active neurons of some steps of one sample, and room to read them out: pointers.

    Attributes
    ----------
    found : int64 [STEPS_TOGETHER]
    image : int32 [STEPS_TOGETHER, width]
    place : int32 [STEPS_TOGETHER, size]
        Where the rows of active neurons begin in a block of readout weights.
    pair : int32 [STEPS_TOGETHER, size]
        See :mod:`events`.
    size, width : int
        K + 2; M, padded to ``WORD_LANES``.
    """

    found: Any
    image: Any
    place: Any
    pair: Any
    size: int
    width: int


def ring_bytes(neurons: int, pixels: int) -> int:
    """Size of a ring."""
    cells = 2 * (neurons + 2) + 2 + padded_size(pixels, WORD_LANES)
    return 4 * STEPS_TOGETHER * cells


@inner
def ring_at(address, neurons, pixels):  # type: ignore[no-untyped-def]
    """A ring in memory at an address that a cache line begins at."""
    size, width = neurons + 2, -(-pixels // WORD_LANES) * WORD_LANES
    image = address + 8 * STEPS_TOGETHER
    place = image + 4 * STEPS_TOGETHER * width
    pair = place + 4 * STEPS_TOGETHER * size
    return Ring(int64_at(address), int32_at(image), int32_at(place), int32_at(pair), size, width)


@inner
def keep_list(ring, n, at, stride):  # type: ignore[no-untyped-def]
    """Keep a list as number ``n``; returns how many are active."""
    found = np.int64(int32_at(at)[0])
    active, pair = int32_at(at + HEAD_BYTES), int32_at(at + HEAD_BYTES + 8 * stride)
    base = n * ring.size
    for a in range(found + 1):
        ring.place[base + a] = active[a] * WORD_LANES
    for p in range((found + 1) // 2):
        ring.pair[base + p] = pair[p]
    ring.found[n] = found
    return found


@compiled(5)
def read_blocks(weights_at, ring_address, neurons, pixels, together):  # type: ignore[no-untyped-def]
    """``image[n] = W z`` of the first lists.

    Weights, int16: for each block of ``WORD_LANES`` pixels a row for each neuron; zero beyond the
    last pixel.
    """
    weights, ring = int16_at(weights_at), ring_at(ring_address, neurons, pixels)
    for first in range(0, ring.width, WORD_LANES):
        base = first * (ring.size - 2)
        for n in range(together):
            line = n * ring.size
            sums = word_sums()
            for p in range((ring.found[n] + 1) // 2):
                row0, row1 = ring.place[line + 2 * p], ring.place[line + 2 * p + 1]
                sums = add_word_rows(sums, weights, base + row0, base + row1, ring.pair[line + p])
            store_word_sums(sums, ring.image, n * ring.width + first)
    return 0


class Summary(NamedTuple):
    """Numbers of a summary.

    Attributes
    ----------
    function : int
        Address of :func:`summarize`.
    place, stride : int
        List of what is read out.
    weights, target, figures : int
        Addresses: int16, see :func:`read_blocks`; int32 [B, F, M], encoded pixels in the unit of
        the readout; int64 [B, T + 1, 4], spikes, active neurons, those at the largest count, and
        the squared error.
    neurons, pixels, left, most, frames, iterations, steps : int
        K, M, left shift to the unit of the readout, largest count, F, iterations of each frame,
        T + 1.
    narrow : int
        Whether no difference can leave 32 bits, and none is shifted.
    read : int
        Address of :func:`read_blocks`.
    """

    function: int
    place: int
    stride: int
    weights: int
    target: int
    figures: int
    neurons: int
    pixels: int
    left: int
    most: int
    frames: int
    iterations: int
    steps: int
    narrow: int
    read: int


@compiled(5)
def summarize(numbers_at, room_at, b, step, n):  # type: ignore[no-untyped-def]
    """Keep a step of sample ``b`` as list n, or with n < 0 read the first -n lists out.

    The error of a step is ``sum_m (target - (W z << left))**2``; its counts are compared with the
    frame of the iteration before it.
    """
    numbers, room = int64_at(numbers_at), int64_at(room_at)
    place, stride, pixels = numbers[1], numbers[2], numbers[7]
    figures = numbers[5] + 32 * b * numbers[12]
    ring = ring_at(room[RING], numbers[6], pixels)
    if n >= 0:
        at = room[CELLS] + 4 * place
        found = keep_list(ring, n, at, stride)
        count = int32_at(at + HEAD_BYTES + 4 * stride)
        spikes, saturated, most = np.int64(0), np.int64(0), numbers[9]
        for a in range(found):
            spikes += abs(np.int64(count[a]))
            saturated += np.int64(abs(np.int64(count[a])) == most)
        sums = int64_at(figures + 32 * step)
        sums[0] = spikes
        sums[1] = found
        sums[2] = saturated
        return 0
    call(numbers[14], numbers[3], room[RING], numbers[6], pixels, -n)
    left, narrow, error = numbers[8], numbers[13], int64_at(figures)
    for k in range(-n):
        now = step + 1 + n + k
        if now > 0:
            frame = b * numbers[10] + (now - 1) // numbers[11]
            target = int32_at(numbers[4] + 4 * frame * pixels)
            error[4 * now + 3] = squared_error(
                target, ring.image, k * ring.width, pixels, left, narrow
            )
    return 0


@inner
def squared_error(target, image, first, pixels, left, narrow):  # type: ignore[no-untyped-def]
    """``sum over m of (target[m] - (image[first + m] << left))**2``."""
    total = np.int64(0)
    if narrow:
        # Two 32-bit factors of a 64-bit product: one instruction.
        for m in range(pixels):
            small = np.int64(np.int32(target[m] - image[first + m]))
            total += small * small
    else:
        for m in range(pixels):
            difference = np.int64(target[m]) - (np.int64(image[first + m]) << left)
            total += difference * difference
    return total


class PictureSummary(NamedTuple):
    """Numbers of a summary where a variable of the network is the picture.

    Attributes
    ----------
    function : int
        Address of :func:`summarize_picture`.
    place, neurons, most : int
        Of the code: place among the cells, size, largest magnitude.
    image, pixels : int
        Of the picture: place among the cells, size.
    target, figures, left, frames, iterations, steps, narrow : int
        As in :class:`Summary`.
    """

    function: int
    place: int
    neurons: int
    most: int
    image: int
    pixels: int
    target: int
    figures: int
    left: int
    frames: int
    iterations: int
    steps: int
    narrow: int


@compiled(5)
def summarize_picture(numbers_at, room_at, b, step, n):  # type: ignore[no-untyped-def]
    """Figures of a step of sample ``b``, at once: with n < 0 nothing is left to do."""
    if n < 0:
        return 0
    numbers, room = int64_at(numbers_at), int64_at(room_at)
    code, most = int32_at(room[CELLS] + 4 * numbers[1]), numbers[3]
    spikes, active, saturated = np.int64(0), np.int64(0), np.int64(0)
    for i in range(numbers[2]):
        magnitude = abs(np.int64(code[i]))
        spikes += magnitude
        active += np.int64(magnitude != 0)
        saturated += np.int64((magnitude == most) & (magnitude != 0))
    pixels = numbers[5]
    sums = int64_at(numbers[7] + 32 * (b * numbers[11] + step))
    sums[0], sums[1], sums[2] = spikes, active, saturated
    if step > 0:
        frame = b * numbers[9] + (step - 1) // numbers[10]
        target, image = int32_at(numbers[6] + 4 * frame * pixels), room[CELLS] + 4 * numbers[4]
        sums[3] = squared_error(target, int32_at(image), 0, pixels, numbers[8], numbers[12])
    return 0


@compiled(8)
def read_values(read, weights, neurons, pixels, values, work, image, samples):  # type: ignore[no-untyped-def]
    """``image[b] = W values[b]`` for all rows: int32 [B, K] to int32 [B, M], by their addresses.

    ``read`` is :func:`read_blocks`; ``work`` has room for a list, then for a ring.
    """
    stride = -(-(neurons + 2) // CELLS_PER_LINE) * CELLS_PER_LINE
    ring_address = work + HEAD_BYTES + 12 * stride
    ring = ring_at(ring_address, neurons, pixels)
    for b in range(samples):
        list_active(int32_at(values + 4 * b * neurons), neurons, work, stride)
        keep_list(ring, 0, work, stride)
        call(read, weights, ring_address, neurons, pixels, 1)
        row = int32_at(image + 4 * b * pixels)
        for m in range(pixels):
            row[m] = ring.image[m]
    return 0
