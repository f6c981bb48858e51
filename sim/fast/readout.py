"""Figures of every iteration: sums of what is inferred, and the squared error of its reconstruction.

The picture is a part of the cells: a variable of the network, sums that a connection delivers
anyway, or those of a product that is carried out for these figures alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pvae_neuro.sim.fast.memory import CELLS, compiled, inner, int32_at, int64_at


class Summary(NamedTuple):
    """Numbers of a summary.

    Attributes
    ----------
    function : int
        Address of :func:`summarize`.
    code, neurons, most : int
        Of what is inferred: place among the cells, size, largest magnitude.
    image, last_image, pixels : int
        Of the picture: places among the cells after an iteration and after ``final``; size M.
    target, figures : int
        Addresses: int32 [B, F, M], encoded pixels in the unit of the readout; int64 [B, T + 1, 4],
        spikes, active neurons, those at the largest magnitude, and the squared error.
    left, frames, iterations, steps : int
        Left shift of the picture to the unit of the readout, F, iterations of each frame, T + 1.
    narrow : int
        Whether no difference can leave 32 bits, and none is shifted.
    """

    function: int
    code: int
    neurons: int
    most: int
    image: int
    last_image: int
    pixels: int
    target: int
    figures: int
    left: int
    frames: int
    iterations: int
    steps: int
    narrow: int


@compiled(5)
def summarize(numbers_at, room_at, b, step, is_final):  # type: ignore[no-untyped-def]
    """Figures of a step of sample ``b``; its error is compared with the frame of the iteration before.

    The error is ``sum_m (target[m] - (image[m] << left))**2``.
    """
    numbers, cells = int64_at(numbers_at), int64_at(room_at)[CELLS]
    code, most = int32_at(cells + 4 * numbers[1]), np.int32(numbers[3])
    spikes, active, saturated = np.int64(0), np.int64(0), np.int64(0)
    for i in range(numbers[2]):
        magnitude = np.int32(abs(code[i]))
        spikes += magnitude
        active += np.int64(magnitude != 0)
        saturated += np.int64((magnitude == most) & (magnitude != 0))
    sums = int64_at(numbers[8] + 32 * (b * numbers[12] + step))
    sums[0], sums[1], sums[2] = spikes, active, saturated
    if step > 0:
        pixels = numbers[6]
        frame = b * numbers[10] + (step - 1) // numbers[11]
        target = int32_at(numbers[7] + 4 * frame * pixels)
        image = int32_at(cells + 4 * numbers[5 if is_final else 4])
        sums[3] = _squared_error(target, image, pixels, numbers[9], numbers[13])
    return 0


@inner
def _squared_error(target, image, pixels, left, narrow):  # type: ignore[no-untyped-def]
    total = np.int64(0)
    if narrow:
        # Two 32-bit factors of a 64-bit product: one instruction.
        for m in range(pixels):
            small = np.int64(np.int32(target[m] - image[m]))
            total += small * small
    else:
        for m in range(pixels):
            difference = np.int64(target[m]) - (np.int64(image[m]) << left)
            total += difference * difference
    return total
