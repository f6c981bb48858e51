"""Figures of every iteration: sums of what is inferred, and the squared error of its picture.

The picture is a part of the cells: a variable of the network, sums that a connection delivers
anyway, or those of a product that is carried out for these figures alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir

from pvae_neuro.sim.fast.language import (
    Array,
    Body,
    Value,
    Variable,
    function,
    int32_at,
    int64_at,
    larger,
    select,
    smaller,
)
from pvae_neuro.sim.fast.machine import I32, I64
from pvae_neuro.sim.fast.memory import CELLS

TOGETHER = 128
"""Neurons whose figures are summed in 32 bits."""
LINE = 16


class Summary(NamedTuple):
    """Numbers of a summary: of Python's, or as the function reads them.

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

    function: Any
    code: Any
    neurons: Any
    most: Any
    image: Any
    last_image: Any
    pixels: Any
    target: Any
    figures: Any
    left: Any
    frames: Any
    iterations: Any
    steps: Any
    narrow: Any


@function(5)
def summarize(
    code: Body, numbers_at: Value, room_at: Value, b: Value, step: Value, is_final: Value
) -> int:
    """Figures of a step of sample ``b``; its error is compared with the frame of the step before.

    The error is ``sum_m (target[m] - (image[m] << left))**2``.
    """
    cells = int64_at(room_at)[CELLS]
    numbers = Summary(*(int64_at(numbers_at)[i] for i in range(len(Summary._fields))))
    sums = int64_at(numbers.figures + 32 * (b * numbers.steps + step))
    found = _sums(code, int32_at(cells + 4 * numbers.code), numbers.neurons, numbers.most.to(I32))
    for place, figure in enumerate(found):
        sums[place] = figure
    with code.when(step > 0):
        frame = b * numbers.frames + (step - 1) // numbers.iterations
        target = int32_at(numbers.target + 4 * frame * numbers.pixels)
        picture = select(is_final != 0, numbers.last_image, numbers.image)
        image = int32_at(cells + 4 * picture)
        with code.cases(numbers.narrow != 0) as (narrow, wide):
            with narrow:
                sums[3] = _narrow_error(code, target, image, numbers.pixels)
            with wide:
                total = code.variable(0)
                with code.loop(numbers.pixels) as m:
                    total += _square(target[m].to(I64) - (image[m].to(I64) << numbers.left))
                sums[3] = total
    return 0


def _sums(code: Body, values: Array, n: Value, most: Value) -> list[Variable]:
    """Sums of magnitudes, of those that are not zero, of those that are the largest.

    Words have 24 bits, so that sums of ``TOGETHER`` fit 32: vectors then hold twice as many.
    """
    totals = [code.variable(0) for _ in range(3)]
    with code.loop(0, n, TOGETHER) as first:
        parts = [code.variable(0, I32) for _ in range(3)]
        with code.loop(first, smaller(first + TOGETHER, n)) as i:
            magnitude = larger(values[i], -values[i])
            parts[0] += magnitude
            parts[1] += magnitude != 0
            parts[2] += (magnitude == most) & (magnitude != 0)
        for total, part in zip(totals, parts, strict=True):
            total.set(total + part)
    return totals


def _narrow_error(code: Body, target: Array, image: Array, n: Value) -> Value:
    """Sum of squared differences of 32 bits, of two lanes of 32 bits in one of 64."""
    total, whole = code.variable(0), n & -LINE
    sums = code.variable(0, ir.VectorType(I64, LINE // 2))
    with code.loop(0, whole, LINE) as m:
        both = (target.line(m, LINE) - image.line(m, LINE)).read_as(sums.kind)
        sums.set(sums + _square(both << 32 >> 32) + _square(both >> 32))
    with code.loop(whole, n) as m:
        total += _square((target[m] - image[m]).to(I64))
    return total + sums.added_up()


def _square(x: Value) -> Value:
    return x * x
