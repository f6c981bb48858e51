"""Convolutions and their transposes as sums over shifted planes of pairs.

Both come to the same sums. The values that are sent are laid out as planes with margins of zeros,
two channels side by side in one number; a convolution of stride s has s * s planes for a pair of
channels, one for each remainder of row and column, and its transpose has s * s planes of sums. Then
each tap of the kernel reads a plane from another place on, and positions that follow each other in
a plane, across the ends of rows, are one vector::

    sums[f] = sum over taps and pairs of channels of weights * pairs[f + offset]

Sums are of 32 bits and may wrap while they are made; see :mod:`products`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import Convolution
from pvae_neuro.sim.fast.language import (
    Array,
    Body,
    Value,
    command,
    int32_at,
    int64_at,
    select,
)
from pvae_neuro.sim.fast.layouts import padded_size
from pvae_neuro.sim.fast.machine import I32
from pvae_neuro.sim.fast.memory import CELLS, PART
from pvae_neuro.sim.fast.products import DIGIT_BITS, join
from pvae_neuro.sim.fast.vectors import PAIR_BLOCKS, PAIR_LANES, PairSums


class Shape(NamedTuple):
    """Numbers of a convolution: of Python's, or as the kernel reads them.

    Attributes
    ----------
    channels, height, width : int
        Of the source.
    step, row, column : int
        Source position r lies in the plane of remainder ``(r + row) % step``, at ``(r + row) //
        step``.
    pitch, plane : int
        From one row of a plane to the next; from one plane to the next.
    target_channels, target_size, target_width, target_step : int
        Channels; positions of one of them; width; distance of sums that follow each other.
    groups : int
        Planes of sums; see :class:`Group`.
    """

    channels: Any
    height: Any
    width: Any
    step: Any
    row: Any
    column: Any
    pitch: Any
    plane: Any
    target_channels: Any
    target_size: Any
    target_width: Any
    target_step: Any
    groups: Any


class Group(NamedTuple):
    """A plane of sums of each target channel: numbers like those of :class:`Shape`.

    Attributes
    ----------
    first : int
        Target position of its first sum.
    rows, columns : int
    taps : int
        Numbers that are added up for each sum: pairs of channels times taps.
    offset, weight : int
        Where its offsets begin, and its weights: for each target channel as many as offsets.
    """

    first: Any
    rows: Any
    columns: Any
    taps: Any
    offset: Any
    weight: Any


# Steps of positions that vectors take; lanes of these.
STEPS, LINE = (1, 2), 16
SHAPE, GROUP = len(Shape._fields), len(Group._fields)


@dataclass(frozen=True, eq=False)
class Layout:
    """A convolution, or its transpose, as the kernel reads it.

    Attributes
    ----------
    numbers : int64
        A :class:`Shape`, then its groups.
    offsets : int32
    weights : int32
        Two of 16 bits in each, for the two channels of a pair.
    cells : int
        Of the planes, with what a vector reads beyond their end.
    sums : int
        Of the largest planes of sums that are made at once, in whole vectors.
    """

    numbers: NDArray[np.int64]
    offsets: NDArray[np.int32]
    weights: NDArray[np.int32]
    cells: int
    sums: int


@dataclass(frozen=True)
class _Plane:
    """Where a plane of sums lies in the target, and the taps that it adds up.

    ``taps`` holds row and column in the kernel, plane of the source and offset there.
    """

    row: int
    column: int
    rows: int
    columns: int
    taps: tuple[tuple[int, int, int, int], ...]


def lay_out(c: Convolution) -> Layout:
    """Work out planes, offsets and weights."""
    transposed = c.kind == "transposed_convolution"
    channels, height, width = c.source_shape
    maps, target_height, target_width = c.target_shape
    # Target channel, source channel, height, width.
    weight = c.weight.swapaxes(0, 1) if transposed else c.weight
    pairs = -(-channels // 2)
    step = 1 if transposed else c.stride
    if transposed:
        (row, rows), (column, pitch) = (
            _margins(c, kernel, source, target)
            for kernel, source, target in zip(
                weight.shape[2:], c.source_shape[1:], c.target_shape[1:], strict=True
            )
        )
        found = _transposed_planes(c, row, column, pitch)
    else:
        row = column = c.padding
        rows, pitch = (
            max(-(-(source + c.padding) // step), target + (kernel - 1) // step)
            for kernel, source, target in zip(
                weight.shape[2:], c.source_shape[1:], c.target_shape[1:], strict=True
            )
        )
        found = _planes(c, pitch)
    plane = rows * pitch
    both = np.zeros((maps, pairs, 2, *weight.shape[2:]), np.int32)
    both.reshape(maps, 2 * pairs, *weight.shape[2:])[:, :channels] = weight
    together = (both[:, :, 0] & 0xFFFF) | (both[:, :, 1] << 16)
    groups: list[Group] = []
    offsets: list[NDArray[np.int32]] = []
    weights: list[NDArray[np.int32]] = []
    most = 1
    for p in found:
        taken = [
            (pair, i, j, (pair * step * step + source) * plane + offset)
            for pair in range(pairs)
            for i, j, source, offset in p.taps
        ]
        first = p.row * target_width + p.column
        before = sum(part.size for part in offsets), sum(part.size for part in weights)
        # Whole steps of the kernel: what is filled up has weight zero.
        taps = padded_size(len(taken), PAIR_BLOCKS)
        groups.append(Group(first, p.rows, p.columns, taps, *before))
        offsets.append(np.zeros(taps, np.int32))
        weights.append(np.zeros((maps, taps), np.int32))
        for number, (pair, i, j, offset) in enumerate(taken):
            offsets[-1][number] = offset
            weights[-1][:, number] = together[:, pair, i, j]
        most = max(most, (p.rows - 1) * pitch + p.columns)
    shape = Shape(
        channels, height, width, step, row, column, pitch, plane,
        maps, target_height * target_width, target_width, c.stride if transposed else 1,
        len(groups),
    )  # fmt: skip
    sums = padded_size(most, PAIR_LANES)
    reach = max((int(part.max(initial=0)) for part in offsets), default=0) + sums
    return Layout(
        np.array([*shape, *(n for group in groups for n in group)], np.int64),
        np.concatenate([np.zeros(0, np.int32), *offsets]).astype(np.int32),
        np.concatenate([np.zeros(0, np.int32), *(part.ravel() for part in weights)]).astype(
            np.int32
        ),
        max(pairs * step * step * plane, reach),
        PAIR_BLOCKS * sums,
    )


def _planes(c: Convolution, pitch: int) -> Iterator[_Plane]:
    """Yield the one plane of sums of a convolution."""
    s = c.stride
    taps = tuple(
        (i, j, i % s * s + j % s, i // s * pitch + j // s)
        for i in range(c.weight.shape[2])
        for j in range(c.weight.shape[3])
    )
    _, rows, columns = c.target_shape
    yield _Plane(0, 0, rows, columns, taps)


def _margins(c: Convolution, kernel: int, source: int, target: int) -> tuple[int, int]:
    """Zeros before a transposed convolution's source along an axis, and length with all zeros."""
    before = (kernel - 1) // c.stride
    last = (target - 1 + c.padding) // c.stride
    # Zeros at the end of a row serve as those before the next one.
    return before, max(source + before, last + 1)


def _transposed_planes(c: Convolution, row: int, column: int, pitch: int) -> Iterator[_Plane]:
    """Yield planes of sums: positions of the target of one remainder of row and column."""
    for a, first_row, rows in _remainders(c, c.target_shape[1]):
        for b, first_column, columns in _remainders(c, c.target_shape[2]):
            taps = tuple(
                (i, j, 0, (first_row - t + row) * pitch + first_column - u + column)
                for t, i in enumerate(range(a, c.weight.shape[2], c.stride))
                for u, j in enumerate(range(b, c.weight.shape[3], c.stride))
            )
            yield _Plane(
                c.stride * first_row + a - c.padding,
                c.stride * first_column + b - c.padding,
                rows,
                columns,
                taps,
            )


def _remainders(c: Convolution, side: int) -> Iterator[tuple[int, int, int]]:
    """Yield each remainder of padded target positions, its first position, and how many it has."""
    for a in range(c.stride):
        first = max(0, -(-(c.padding - a) // c.stride))
        last = (side - 1 + c.padding - a) // c.stride
        if last >= first:
            yield a, first, last - first + 1


@command
def convolve(code: Body, command: Array, room: Array) -> None:
    """Places of values, of planes and of ``total``; addresses of the layout's arrays; digits.

    Values that do not fit 16 bits are taken in two digits, the higher one first.
    """
    kernel, digits = _Kernel(code, command, room), command[7]
    with code.loop(digits) as lower:
        shift = ((digits - lower - 1) * DIGIT_BITS).to(I32)
        kernel.fill(shift)
        with code.loop(kernel.shape.groups) as g:
            kernel.add_group(g, shift, select(lower == 0, code.value(0, I32), -1))


class _Kernel:
    """What :func:`convolve` does with a digit of all values."""

    def __init__(self, code: Body, command: Array, room: Array) -> None:
        self.code, self.part = code, int32_at(room[PART])
        self.values, self.planes, self.total = (
            int32_at(room[CELLS] + 4 * command[i]) for i in (1, 2, 3)
        )
        self.offsets, self.weights = int32_at(command[5]), int32_at(command[6])
        self.shape = Shape(*(int64_at(command[4])[i] for i in range(SHAPE)))
        self.groups = command[4] + 8 * SHAPE

    def fill(self, shift: Value) -> None:
        """Write the digit into the planes, two channels at a time; margins stay zero."""
        code, shape = self.code, self.shape
        channels, height, width, step = shape[:4]
        with code.loop((channels + 1) >> 1) as pair:
            # An odd number of channels has no second one in its last pair.
            both = 2 * pair + 1 < channels
            mask, other = select(both, code.value(-1, I32), 0xFFFF), select(both, height * width, 0)
            with code.loop(height) as r, code.loop(step) as b:
                row, line = r + shape.row, (2 * pair * height + r) * width
                # The first position whose remainder is b.
                q = (b + step - shape.column % step) % step
                plane = (pair * step + row % step) * step + b
                to = plane * shape.plane + row // step * shape.pitch + (q + shape.column) // step
                for x, each, beside in _positions(code, (width - q + step - 1) // step, step):
                    one, two = (
                        each.read(self.values, line + q + x * step + more) for more in (0, other)
                    )
                    beside.write(self.planes, to + x, join(one, two, shift) & mask)

    def add_group(self, g: Value, shift: Value, kept: Value) -> None:
        """Make the sums of a group, shift them, and add them to those bits that are kept."""
        code, shape, at = self.code, self.shape, int64_at(self.groups + 8 * GROUP * g)
        group = Group(*(at[i] for i in range(GROUP)))
        whole = shape.target_channels & -PAIR_BLOCKS
        # Some channels at once, then each that is left over, with some taps at once.
        for first, last, channels in (
            (0, whole, PAIR_BLOCKS),
            (whole, shape.target_channels, 1),
        ):
            with code.loop(first, last, channels) as o:
                pitch = self._add_taps(group, o, channels)
                with code.loop(channels) as number, code.loop(group.rows) as y:
                    row = group.first + y * shape.target_step * shape.target_width
                    to = (o + number) * shape.target_size + row
                    line = number * pitch + y * shape.pitch
                    for x, each, beside in _positions(code, group.columns, shape.target_step):
                        place = to + x * shape.target_step
                        sums = beside.read(self.part, line + x) << shift
                        each.write(self.total, place, (each.read(self.total, place) & kept) + sums)

    def _add_taps(self, group: Group, o: Value, channels: int) -> Value:
        """Add up the taps of some channels from ``o`` on; returns the distance of their sums."""
        code = self.code
        length = (group.rows - 1) * self.shape.pitch + group.columns
        pitch, together = (length + PAIR_LANES - 1) & -PAIR_LANES, PAIR_BLOCKS // channels
        with code.loop(0, length, PAIR_LANES) as first:
            sums = [[PairSums(code) for _ in range(together)] for _ in range(channels)]
            with code.loop(0, group.taps, together) as k:
                for tap in range(together):
                    source = self.offsets[group.offset + k + tap] + first
                    for channel in range(channels):
                        place = group.weight + (o + channel) * group.taps + k + tap
                        sums[channel][tap].add_values(self.planes, source, self.weights[place])
            for channel, (one, *others) in enumerate(sums):
                for other in others:
                    one.add(other)
                one.store(self.part, channel * pitch + first)
        return pitch


def _positions(
    code: Body, count: Value, step: Value
) -> Iterator[tuple[Value, _Positions, _Positions]]:
    """Yield loops over ``range(count)``, and access to numbers a step and one place apart.

    Small steps have vectors, in a loop for each; what the caller writes for each of them runs where
    it is that step.
    """
    for every in STEPS:
        with code.when(step == every), code.loop(0, count, LINE) as x:
            yield x, _Positions(code, every, count - x), _Positions(code, 1, count - x)
    with code.when(step > STEPS[-1]), code.loop(count) as x:
        yield x, _Positions(code), _Positions(code)


class _Positions:
    """Access to up to ``LINE`` numbers at a time that are a step apart, or to one number.

    Rows are short: vectors whose lanes are masked cost less than a loop with an end of its own.
    """

    def __init__(self, code: Body, step: int = 1, left: Value | None = None) -> None:
        self.step, self.mask = step, None
        if left is not None:
            numbers = code.lane_numbers(step * LINE)
            self.mask = (numbers < (left * step).to(I32)) & (numbers % step == 0)

    def read(self, array: Array, place: Value) -> Value:
        """Numbers from a place on."""
        if self.mask is None:
            return array[place]
        line = array.line(place, self.step * LINE, self.mask)
        return line.picked(range(0, self.step * LINE, self.step))

    def write(self, array: Array, place: Value, values: Value) -> None:
        """Write numbers from a place on."""
        if self.mask is None:
            array[place] = values
            return
        lanes = [lane // self.step for lane in range(self.step * LINE)]
        array.set_line(place, values.picked(lanes), self.mask)
