"""Integers of a chain of layers: mantissas, units of each hop, limits that the proof allows.

**Mantissas.** Rows and columns of a weight array are scaled by powers of two of their own so that
each fills the mantissas, and no mantissa saturates. The neurons undo these scales by their shifts,
which are constants of each neuron. Where rows have a few weights that are far larger than the
others, two connections add up, which is one bit more (docs/decisions.md).

**Units.** A graded spike has the finest unit in which the largest one of calibration, with a
quarter of head room, lies within its limit. The limit is the largest at which no sum of the next
layer can leave 24 bits, whatever is sent, or what the width that is asked for holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.lowerings.layers import Layer
from pvae_neuro.exporters.lowerings.rectifiers import Stage, hidden_names
from pvae_neuro.exporters.remedies import refused
from pvae_neuro.exporters.scales import (
    HEADROOM,
    LARGEST_SUM,
    Scales,
    check_exponent,
    fit_exponent,
)
from pvae_neuro.network import Choice, Connection, shared, transpose_of
from pvae_neuro.network.interval import Interval, between
from pvae_neuro.network.operations import LARGEST_SHIFT
from pvae_neuro.network.population import WORD_MAX

# Least limit of a neuron that sends back, as a share of the largest, and the unit of shares.
LEAST_SHARE, SHARE_UNIT = 0.5, 1024
# Gains lie in (1/4, 1].
GAIN_BITS = 15
# Rows and columns of weights that are smaller than others by more bits are as coarse as that.
SPREAD = 12
# Root mean square of a row over its largest weight, below which mantissas of one connection are
# mostly small.
HEAVY = 1 / 16
Reals = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Rounded:
    """A layer in integers.

    Attributes
    ----------
    stage : Stage
        Its shifts and limits are 0 until the next layer, or the way back, sets them.
    rows : int [targets]
    columns : int [sources]
        A mantissa is the weight times ``2**(row + column)``.
    unit : int
        A source's value has the fixed-point position ``unit - column``, a sum ``unit + row``.
    bound : float64 [targets]
        Largest magnitude of a sum with its bias.
    """

    stage: Stage
    rows: Ints
    columns: Ints
    unit: int
    bound: Reals

    @property
    def mantissas(self) -> Reals:
        """Mantissas of all connections of the layer together, in the axes of its kind."""
        return np.sum([weight.astype(np.float64) for weight in self.stage.weights], axis=0)

    @property
    def live(self) -> NDArray[np.bool_]:
        """Whether any mantissa of a neuron's row is other than 0: bool [targets]."""
        layer = self.stage.layer
        return layer.rows(layer.largest(0, self.mantissas)) > 0


@dataclass(frozen=True, eq=False)
class Source:
    """What the first layer takes: integers of unit ``2**-unit`` from ``low`` to ``high``."""

    unit: int
    low: int
    high: int


@dataclass(frozen=True, eq=False)
class Returned:
    """The way back in integers.

    Attributes
    ----------
    stages : tuple of Stage
        With their shifts and limits of the way back.
    unit : int [targets]
        Fixed-point position of what is sent back through the last layer.
    limit : int32 [targets]
        Its largest magnitude.
    exponent : int
        Of the connection that ends where the way forward began.
    received : int [sources]
        Most that it delivers there.
    choices : tuple of Choice
    """

    stages: tuple[Stage, ...]
    unit: Ints
    limit: NDArray[np.int32]
    exponent: int
    received: Ints
    choices: tuple[Choice, ...]


def round_forward(
    layers: Sequence[Layer],
    source: Source,
    scales: Scales,
    largest: Mapping[str, Reals],
    *,
    beside: float = 0.0,
    same: bool = True,
) -> tuple[tuple[Rounded, ...], tuple[Choice, ...]]:
    """Round the way forward.

    Parameters
    ----------
    layers : sequence of Layer
    source : Source
    scales : Scales
    largest : mapping of str to float64 [n]
        What calibration reached, ``hidden1.a`` and so on.
    beside : float
        Largest magnitude that is added to the last sums, in real numbers.
    same : bool
        Whether all rows of the last layer have one unit.

    Returns
    -------
    tuple of Rounded
    tuple of Choice
    """
    apart = [0.0] * (len(layers) - 1) + [beside]
    found = [_first(layers[0], source, scales, apart[0], same=same and len(layers) == 1)]
    choices = list(_parts_choice(1, found[0]))
    for number, name in enumerate(hidden_names(layers), start=1):
        now, limit = _next(
            found[-1], layers[number], f"{name}.a", scales, largest[f"{name}.a"], apart[number],
            same=same and number == len(layers) - 1,
        )  # fmt: skip
        before = found[-1]
        shift = GAIN_BITS + before.unit + before.rows - (now.unit - now.columns)
        stage = replace(before.stage, shift=_shifts(shift), high=shared(limit))
        found[-1] = replace(before, stage=stage)
        found.append(now)
        choices += _choices(f"{name}.a", limit, now.unit, now.columns)
        choices += _parts_choice(number + 1, now)
    return tuple(found), tuple(choices)


def _first(layer: Layer, source: Source, scales: Scales, beside: float, *, same: bool) -> Rounded:
    columns = np.zeros(layer.shape[1], np.int64)
    sent = max(-source.low, source.high) * 2.0**-source.unit
    parts = _parts(layer, columns)
    rows = _rows(layer, columns, sent, parts * scales.mantissa_max, same=same)
    # What arrives cannot be made coarser, so rows are, until their sums fit.
    while True:
        now = _rounded(
            layer, rows, columns, parts, scales, source.unit, (source.low, source.high), beside
        )
        over = layer.row_maxima(now.bound) > LARGEST_SUM
        if not over.any():
            return now
        rows = rows - (over.any() if same else layer.rows(over))


def _next(
    before: Rounded,
    layer: Layer,
    sent: str,
    scales: Scales,
    reach: Reals,
    beside: float,
    *,
    same: bool,
) -> tuple[Rounded, int]:
    columns = layer.columns(_filling(layer.largest(1, layer.weight), scales.mantissa_max))
    reached = np.ldexp(reach, -columns)
    parts = _parts(layer, columns)
    sent_most = HEADROOM * float(reached.max())
    rows = _rows(layer, columns, sent_most, parts * scales.mantissa_max, same=same)
    sums = _reach(_connection(layer, _mantissas(layer, rows, columns)), between(0, 1))
    apart = np.ldexp(np.abs(layer.bias) + beside, rows)
    worst = np.ldexp(before.bound, -before.unit - before.rows - columns)

    def limit(unit: int) -> int:
        room = (LARGEST_SUM - np.ldexp(apart, unit)) / np.maximum(sums, 1.0)
        return scales.message_limit(sent, int(room.min()))

    finest = int((before.unit + before.rows + columns).max())
    unit = _finest(sent, finest, limit, float(reached.max()), float(worst.max()))
    ends = 0, limit(unit)
    return _rounded(layer, rows, columns, parts, scales, unit, ends, beside), ends[1]


def round_back(
    found: Sequence[Rounded],
    scales: Scales,
    largest: Mapping[str, Reals],
    sent: str,
    worst: Reals,
) -> Returned:
    """Round the way back to where the way forward began, whose unit is ``2**-frac_bits``.

    Parameters
    ----------
    found : sequence of Rounded
    scales : Scales
    largest : mapping of str to float64 [n]
        What calibration reached, ``hidden1.d`` and so on, and ``sent``.
    sent : str
        ``population.variable`` that is sent back through the last layer.
    worst : float64 [n]
        Largest magnitude of what is sent before its clamp, over all inputs, in real numbers.
    """
    names = [f"{name}.d" for name in hidden_names([f.stage.layer for f in found])]
    stages, choices = [f.stage for f in found], list[Choice]()
    position, finest = None, LARGEST_SHIFT
    error = np.zeros(1, np.int64), np.zeros(1, np.int32)
    for place, now in reversed(list(enumerate(found))):
        name = (*names, sent)[place]
        last = scales.frac_bits if place == 0 else None
        # Errors of other images lie at other pixels.
        share = 1.0 if name == sent else LEAST_SHARE
        unit, limit, sums = _back(now, name, scales, largest[name], worst, finest, last, share)
        choices += _choices(name, int(limit.max()), unit, now.rows)
        if position is None:
            error = unit - now.rows, limit
        else:
            shift = _shifts(GAIN_BITS + position - (unit - now.rows))
            stages[place] = replace(stages[place], back_shift=shift, most=limit)
        position = unit + now.columns
        worst = np.ldexp(sums, -position)
        finest = int((position + found[place - 1].rows).max()) if place else 0
    exponent = check_exponent(scales.frac_bits - unit, "feedback")
    received = np.ceil(np.ldexp(worst, scales.frac_bits)).astype(np.int64)
    return Returned(tuple(stages), *error, exponent, received, tuple(choices))


def _back(
    now: Rounded,
    sent: str,
    scales: Scales,
    reach: Reals,
    worst: Reals,
    finest: int,
    frac_bits: int | None,
    least_share: float,
) -> tuple[int, NDArray[np.int32], Reals]:
    """Unit and limits of what is sent back through a layer, and how much each source receives.

    A neuron that sent less than others has a lower limit, but for ``least_share`` of the largest:
    what is proved adds up the limits of all.
    ``frac_bits`` is the fixed-point position to which the sums are shifted, if they are.
    """
    weight = _mantissas(now.stage.layer, now.rows, now.columns)
    connection = _connection(now.stage.layer, weight)
    # What no mantissa brings anywhere may saturate.
    reached, worst = np.ldexp(reach, -now.rows) * now.live, np.ldexp(worst, -now.rows)
    most = float(reached.max()) or 1.0
    shares = np.ceil(SHARE_UNIT * np.clip(reached / most, least_share, 1.0)).astype(np.int64)
    back = transpose_of(connection, "back", "target", "x", "source")
    sums = _reach(back, Interval(-shares, shares)) / SHARE_UNIT

    def limit(unit: int) -> int:
        left = 0 if frac_bits is None else max(0, frac_bits - unit)
        provable = LARGEST_SUM * 2.0**-left / max(1.0, float(sums.max()))
        return scales.message_limit(sent, int(provable))

    unit = _finest(sent, finest, limit, float(reached.max()), float(worst.max()))
    limits = np.maximum(1, limit(unit) * shares // SHARE_UNIT)
    return unit, limits.astype(np.int32), _reach(back, Interval(-limits, limits))


def _rows(layer: Layer, columns: Ints, sent: float, largest: int, *, same: bool) -> Ints:
    """Powers of two of the rows; a bias counts as one more weight, of the largest graded spike."""
    scaled = _scaled(layer, np.zeros(layer.shape[0], np.int64), columns)
    bias = layer.row_maxima(np.abs(layer.bias)) / (sent or 1.0)
    rows = _filling(np.maximum(layer.largest(0, scaled), bias), largest)
    return layer.rows(np.full_like(rows, rows.min()) if same else rows)


def _parts(layer: Layer, columns: Ints) -> int:
    """How many connections a layer has."""
    return 1 if _evenness(layer, columns) >= HEAVY else 2


def _evenness(layer: Layer, columns: Ints) -> float:
    """Root mean square of a row over its largest weight: the median of all rows."""
    scaled = _scaled(layer, np.zeros(layer.shape[0], np.int64), columns)
    largest = layer.largest(0, scaled)
    squares = np.square(np.moveaxis(scaled, layer.row_axis, 0)).reshape(len(largest), -1)
    even = np.sqrt(squares.mean(axis=1))[largest > 0.0] / largest[largest > 0.0]
    return float(np.median(even)) if len(even) else 1.0


def _filling(largest: Reals, mantissa_max: int) -> Ints:
    """Powers of two by which the largest weights of rows or columns fill the mantissas."""
    fitting = np.array([-fit_exponent(np.array([x]), mantissa_max) for x in largest.tolist()])
    least = int(fitting.min(where=largest > 0.0, initial=1 << 20))
    if least == 1 << 20:
        return np.zeros(len(largest), np.int64)
    capped = np.clip(fitting, least, least + SPREAD)
    return np.where(largest > 0.0, capped, capped.max(where=largest > 0.0, initial=least))


def _rounded(
    layer: Layer,
    rows: Ints,
    columns: Ints,
    parts: int,
    scales: Scales,
    unit: int,
    ends: tuple[int, int],
    beside: float,
) -> Rounded:
    whole = _mantissas(layer, rows, columns)
    first = np.clip(whole, -scales.mantissa_max, scales.mantissa_max)
    weights = tuple(part.astype(np.int8) for part in (first, whole - first)[:parts])
    bias = np.rint(np.ldexp(layer.bias, unit + rows))
    apart = np.abs(bias) + np.ldexp(beside, unit + rows)
    bound = _reach(_connection(layer, whole), between(*ends)) + apart
    none = shared(0)
    held = np.clip(bias, -WORD_MAX, WORD_MAX).astype(np.int32)
    gain = np.rint(np.ldexp(layer.gain, GAIN_BITS)).astype(np.int32)
    stage = Stage(layer, weights, held, gain, none, none, none, none)
    return Rounded(stage, rows, columns, unit, bound)


def _mantissas(layer: Layer, rows: Ints, columns: Ints) -> NDArray[np.int16]:
    """Mantissas of all connections of a layer together."""
    return np.rint(_scaled(layer, rows, columns)).astype(np.int16)


def _scaled(layer: Layer, rows: Ints, columns: Ints) -> Reals:
    """Weights times ``2**(row + column)``, from one power for each neuron."""
    of_row = rows.reshape(layer.weight.shape[layer.row_axis], -1)[:, 0]
    of_column = columns.reshape(layer.weight.shape[1 - layer.row_axis], -1)[:, 0]
    return layer.scaled(np.ldexp(1.0, of_row), np.ldexp(1.0, of_column))


def _connection(layer: Layer, weight: NDArray[np.int16]) -> Connection:
    return layer.connect("layer", "source", "x", "target", weight=weight)


def _reach(connection: Connection, sent: Interval) -> Reals:
    """Largest magnitude of each sum, in any order, of values within an interval."""
    adding, _ = connection.reach(sent)
    return np.maximum(-adding.low, adding.high).astype(np.float64)


def _finest(
    sent: str, finest: int, limit: Callable[[int], int], reached: float, worst: float
) -> int:
    """Finest unit in which what calibration reached is within the limit, and all within a word."""
    for unit in range(finest, finest - 64, -1):
        wanted = max(1.0, HEADROOM * math.ldexp(reached, unit))
        if wanted <= limit(unit) and math.ldexp(worst, unit) <= LARGEST_SUM:
            return unit
    raise refused(
        f"{sent}: no unit of this graded spike keeps the sums of the next layer within 24 bits",
        "narrower",
    )


def _shifts(shift: Ints) -> NDArray[np.int32]:
    """Shifts as constants; the widest leaves nothing of a product but its largest bits."""
    return np.clip(shift, -LARGEST_SHIFT, LARGEST_SHIFT).astype(np.int32)


def _parts_choice(number: int, now: Rounded) -> Iterator[Choice]:
    layer = now.stage.layer
    if len(now.stage.weights) > 1:
        yield Choice(
            f"connections of layer {number}",
            len(now.stage.weights),
            f"of {'x'.join(map(str, layer.weight.shape))} weights, which add up: the root mean "
            f"square of a row is {_evenness(layer, now.columns):.2g} of its largest weight, below "
            f"{HEAVY:.2g}, and one connection would leave most mantissas small",
        )


def _choices(sent: str, limit: int, unit: int, spread: Ints) -> tuple[Choice, ...]:
    return (
        Choice(
            f"{sent} limit",
            limit,
            "largest graded spike that keeps every sum of the next layer within 24 bits, or that "
            "the width asked for holds",
        ),
        Choice(
            f"{sent} position",
            unit,
            f"finest fixed-point position at which the largest of calibration, times {HEADROOM}, "
            f"is within the limit; less {int(spread.min())} to {int(spread.max())}, by neuron, "
            f"where the weights fill their mantissas",
        ),
    )
