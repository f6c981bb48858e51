"""Ways to compute the product of a dense connection; all give the same integers.

Each way says which weights and values it takes, what it costs, and by which command it is carried
out. Costs are in microseconds for one sample, from figures that were measured with
``benchmarks/product_costs.py``; they decide the speed and nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import Interval
from pvae_neuro.sim.fast.dense import (
    BYTE_DOTS,
    OFFSET,
    TARGETS,
    TWO_BYTE_DOTS,
    WORD_DOTS,
    Dot,
    Packed,
    Product,
    Tiles,
    byte_layout,
    offset_sums,
    two_byte_layout,
    word_layout,
)
from pvae_neuro.sim.fast.events import add_events, add_word_events
from pvae_neuro.sim.fast.kernel import FOR_GROUP
from pvae_neuro.sim.fast.layouts import (
    INT16_MAX,
    LARGEST_BYTE,
    Weights,
    digit_blocks,
    digits_of,
    event_rows,
    pad,
    padded_size,
)
from pvae_neuro.sim.fast.machine import Written
from pvae_neuro.sim.fast.processor import LEVELS, level
from pvae_neuro.sim.fast.products import multiply
from pvae_neuro.sim.fast.vectors import BYTE_LANES, PAIR_LANES, WORD_LANES

Command = list[int]
Bounds = tuple[int, int]
INT8: Bounds = (-128, 127)
INT16: Bounds = (-INT16_MAX - 1, INT16_MAX)
COUNTS: Bounds = (0, LARGEST_BYTE)
# Two signed bytes hold no more.
TWO_BYTES: Bounds = (-INT16_MAX - 1, 127 * 256 + 127)


@dataclass(frozen=True, eq=False)
class Task:
    """A product that is asked for: ``total[n] = sum over k of value[k] weight[n, k]``.

    Attributes
    ----------
    name : str
        Of the connection, or :data:`plan.READOUT`.
    source : str
        What is sent, ``population.variable``.
    weight : int8 or int16 [targets, sources]
    sent : Interval
        Proved bounds of the values.
    ways : dict of str to Way
        See :func:`ways_for`, which fills it.
    """

    name: str
    source: str
    weight: NDArray[Any]
    sent: Interval
    ways: dict[str, Way] = field(default_factory=dict)

    @property
    def targets(self) -> int:
        """Number of sums."""
        return int(self.weight.shape[0])

    @property
    def sources(self) -> int:
        """Number of values."""
        return int(self.weight.shape[1])

    def takes(self, values: NDArray[Any]) -> bool:
        """Whether there are values, and all are within those bounds."""
        return values.size > 0 and _inside((int(values.min()), int(values.max())), self.values)

    @cached_property
    def weights(self) -> Bounds:
        """Smallest and largest weight."""
        return int(self.weight.min(initial=0)), int(self.weight.max(initial=0))

    @cached_property
    def values(self) -> Bounds:
        """Smallest and largest value that is sent."""
        return self.sent.smallest, self.sent.largest


class Room(Protocol):
    """What a way asks of the planner: places among a sample's cells, and arrays."""

    weights: Weights

    def place_of(self, source: str) -> int:
        """Place of a variable's values."""

    def list_of(self, source: str) -> tuple[int, int]:
        """Place of the list of a variable's values that are not zero, and its stride."""

    def packed(self, source: str, form: Packed) -> int:
        """Bytes from a sample's cells to a variable's packed values."""

    def ask(self, sums: int, sources: int) -> None:
        """Ask for scratch memory for so many sums and values."""


class Way(ABC):
    """A way to compute a product."""

    name: str

    @abstractmethod
    def fits(self, task: Task) -> bool:
        """Whether it computes this product exactly."""

    @abstractmethod
    def cost(self, task: Task, activity: float, rows: int) -> float:
        """Microseconds for one of ``rows`` samples; ``activity``: share of values not zero."""

    @abstractmethod
    def command(self, task: Task, room: Room, total: int) -> Command:
        """The command that writes the sums to a place."""


def _inside(inner: Bounds, outer: Bounds) -> bool:
    return inner[0] >= outer[0] and inner[1] <= outer[1]


# ------------------------------------------------------------------------------------ events


class Events(Way):
    """Rows of bytes of the values that are not zero, counts of 0 .. 255."""

    name = "events"

    def fits(self, task: Task) -> bool:
        """Whether weights and counts are bytes."""
        return _inside(task.weights, INT8) and _inside(task.values, COUNTS)

    def cost(self, task: Task, activity: float, rows: int) -> float:
        """Proportional to the active rows."""
        return _rows_cost("byte rows", task, activity)

    def command(self, task: Task, room: Room, total: int) -> Command:
        """See :func:`events.add_events`."""
        return [
            add_events.address,
            *room.list_of(task.source),
            room.weights.address_of(task.weight, event_rows),
            room.weights.address_of(task.weight, _largest_weights),
            total,
            padded_size(task.targets, BYTE_LANES),
        ]


class WordEvents(Way):
    """Rows of words of the values that are not zero."""

    name = "events"

    def fits(self, task: Task) -> bool:
        """Whether weights and values are words."""
        return _inside(task.weights, INT16) and _inside(task.values, INT16)

    def cost(self, task: Task, activity: float, rows: int) -> float:
        """Proportional to the active rows."""
        return _rows_cost("word rows", task, activity)

    def command(self, task: Task, room: Room, total: int) -> Command:
        """See :func:`events.add_word_events`."""
        return _for_group(
            [
                add_word_events.address,
                *room.list_of(task.source),
                room.weights.address_of(task.weight, _word_rows),
                total,
                padded_size(task.targets, WORD_LANES),
                task.sources,
            ]
        )


class Pairs(Way):
    """Pairs of values that are not both zero, in digits of 16 bits, a sample at a time."""

    name = "pairs"

    def fits(self, task: Task) -> bool:
        """Whether weights are bytes."""
        return _inside(task.weights, INT8)

    def cost(self, task: Task, activity: float, rows: int) -> float:
        """Proportional to the pairs that are not both zero."""
        pairs = 1 - (1 - activity) ** 2
        return digits_of(task.sent) * _rows_cost("pairs", task, pairs)

    def command(self, task: Task, room: Room, total: int) -> Command:
        """See :func:`products.multiply`."""
        width = padded_size(task.targets, PAIR_LANES)
        room.ask(width, task.sources)
        return [
            multiply.address,
            room.place_of(task.source),
            task.sources,
            digits_of(task.sent),
            room.weights.address_of(task.weight, digit_blocks),
            total,
            width,
        ]


def _largest_weights(weight: NDArray[Any]) -> NDArray[np.int32]:
    """Largest magnitude of each source's weights."""
    return np.abs(weight.astype(np.int32)).max(axis=0)


def _word_rows(weight: NDArray[Any]) -> NDArray[np.int16]:
    """Blocks of ``WORD_LANES`` targets, a row for each source: int16 [blocks, sources, lanes]."""
    padded = pad(weight.astype(np.int16), 0, WORD_LANES)
    return np.ascontiguousarray(padded.reshape(-1, WORD_LANES, weight.shape[1]).swapaxes(1, 2))


# ------------------------------------------------------------------------------------- dense


@dataclass(frozen=True)
class Form:
    """A form of the dense product: what it takes, and the code that computes it.

    Attributes
    ----------
    level : str
        Level of :mod:`processor` that has its instructions.
    weights, values : (int, int)
        Smallest and largest that it takes.
    packed : Packed
        How values are packed.
    layout : callable
        Layout of the weights.
    code : Tiles or Dot
    """

    level: str
    weights: Bounds
    values: Bounds
    packed: Packed
    layout: Callable[[NDArray[Any]], NDArray[Any]]
    code: Tiles | Dot

    def takes(self, task: Task) -> bool:
        """Whether it computes this product exactly."""
        return _inside(task.weights, self.weights) and _inside(task.values, self.values)


def _tile_forms() -> Iterator[Form]:
    one, two = Packed(1, 1), Packed(1, 2)
    yield Form("amx", INT8, COUNTS, one, byte_layout, Tiles())
    yield Form("amx", INT8, INT16, two, byte_layout, Tiles((False, True)))
    yield Form("amx", TWO_BYTES, COUNTS, one, two_byte_layout, Tiles((False,), 2))


def _dot_forms() -> Iterator[Form]:
    for name, dot in BYTE_DOTS.items():
        # Without VNNI sums of two products have 16 bits.
        counts = COUNTS if name == "vnni" else (0, 127)
        yield Form(name, INT8, counts, Packed(1, 1), byte_layout, dot)
    for name, dot in TWO_BYTE_DOTS.items():
        yield Form(name, INT8, INT16, Packed(1, 2, OFFSET), byte_layout, dot)
    for name, dot in WORD_DOTS.items():
        yield Form(name, INT16, INT16, Packed(2, 1), word_layout, dot)


@cache
def _code(code: Tiles | Dot | Packed) -> Written:
    return Written(code.write)


def pack_address(form: Packed) -> int:
    """Address of the command that packs values."""
    return _code(form).address


class DenseProduct(Way):
    """All values and all weights, a group of samples at a time.

    Parameters
    ----------
    name : str
    levels : mapping of str to str
        Level of the forms to take, by the processor's.
    forms : sequence of Form
        Those that are tried, in order.
    """

    def __init__(self, name: str, levels: Mapping[str, str], forms: Sequence[Form]) -> None:
        self.name, self._levels, self.forms = name, levels, forms

    def form(self, task: Task) -> Form | None:
        """The first form that computes this product here; None where there is none."""
        reached = self._levels.get(level())
        return next((f for f in self.forms if f.level == reached and f.takes(task)), None)

    def fits(self, task: Task) -> bool:
        """Whether there is a form for these weights and values."""
        return self.form(task) is not None

    def cost(self, task: Task, activity: float, rows: int) -> float:
        """Whatever the activity; weights are fetched once for all samples."""
        form = self.form(task)
        if form is None:
            return float("inf")
        alone, together = DENSE_COSTS[form.level][form.packed.bytes]
        weight_planes = 2 if form.layout is two_byte_layout else 1
        products = padded_size(task.targets, TARGETS) * padded_size(task.sources, TARGETS)
        share = rows if rows >= form.code.rows else 1
        each = max(form.packed.planes * together, alone / share)
        return 1e-6 * products * weight_planes * each

    def command(self, task: Task, room: Room, total: int) -> Command:
        """See :class:`dense.Product`."""
        form = self.form(task)
        if form is None:
            raise ValueError(f"{task.name}: no form of dense product")
        packed = form.packed
        return _for_group(
            list(
                Product(
                    function=_code(form.code).address,
                    values=room.packed(task.source, packed),
                    total=4 * total,
                    plane=packed.plane(task.sources),
                    weights=room.weights.address_of(task.weight, form.layout),
                    blocks=-(-task.targets // TARGETS),
                    depth=packed.plane(task.sources) * TARGETS,
                    begin=room.weights.address_of(task.weight, offset_sums) if packed.offset else 0,
                )
            )
        )


def _for_group(numbers: Command) -> Command:
    return [*numbers, *[0] * (FOR_GROUP - len(numbers)), 1]


# ------------------------------------------------------------------------------------- costs

# Picoseconds for a product of a weight, by level and bytes of a packed value: of one sample alone,
# and of each of many in one plane.
DENSE_COSTS: dict[str, dict[int, tuple[float, float]]] = {
    "amx": {1: (12.0, 0.8)},
    "vnni": {1: (9.5, 3.4), 2: (19.0, 6.5)},
    "avx512": {1: (9.5, 6.5), 2: (19.0, 8.0)},
    "avx2": {1: (14.0, 13.0), 2: (21.0, 16.5)},
    "sse4": {1: (28.0, 28.0), 2: (40.0, 40.0)},
    "plain": {2: (160.0, 160.0)},
}
# Picoseconds for a weight of a row that is added, or of a pair, by level; other levels as "avx512".
ROW_COSTS: dict[str, dict[str, float]] = {
    "byte rows": {"avx512": 17.0, "avx2": 24.0, "sse4": 47.0, "plain": 47.0},
    "word rows": {"avx512": 35.0, "avx2": 36.0, "sse4": 76.0, "plain": 76.0},
    "pairs": {"avx512": 21.0, "avx2": 29.0, "sse4": 55.0, "plain": 80.0},
}
# Microseconds that a sum over rows takes whatever it adds.
ROWS_BEGIN = 0.2


def _rows_cost(kind: str, task: Task, share: float) -> float:
    costs = ROW_COSTS[kind]
    each = costs.get(level(), costs["avx512"])
    return ROWS_BEGIN + 1e-6 * each * share * task.sources * task.targets


# On a processor with tiles, instructions on vectors are those of VNNI.
_VECTORS = {name: name for name in LEVELS} | {"amx": "vnni"}
TILES = DenseProduct("tiles", {"amx": "amx"}, tuple(_tile_forms()))
DOTS = DenseProduct("dense", _VECTORS, tuple(_dot_forms()))
WAYS: tuple[Way, ...] = (Events(), WordEvents(), Pairs(), DOTS, TILES)


def ways_for(task: Task) -> dict[str, Way]:
    """Ways that compute a product exactly, by name; of those with one name the first."""
    if not task.ways:
        found: dict[str, Way] = {}
        for way in WAYS:
            if way.fits(task):
                found.setdefault(way.name, way)
        # All at once: another thread must not see some of them.
        task.ways.update(found)
    return task.ways
