"""Connections: synapses that bring a variable of one population to another.

Each kind is a class with its own product, interval and check. A connection delivers::

    sum over synapses of weight * value                      (a signed accumulator)

Connections of one activation that share the name ``received_as`` add up first; the sum is then
shifted by their common exponent, rounded once: ``shift(a, e) = a << e`` for e >= 0, else
``(a + 2**(-e-1)) >> -e``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import NetworkError
from pvae_neuro.network.bounds import Array, Flag, Items, Name, Optional, Whole, bounded
from pvae_neuro.network.interval import Interval
from pvae_neuro.network.operations import LARGEST_SHIFT
from pvae_neuro.network.population import LARGEST_SIZE
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.show import in_a_line

MANTISSA_BITS = 8
# Sides and channels of a convolution; their product is bounded by the population's size.
_SIDE = Whole(1, LARGEST_SIZE)


@dataclass(frozen=True, eq=False)
class Shared:
    """Weights of another connection, stored there and used here too.

    Attributes
    ----------
    connection : str
        Name of the connection that holds the weights.
    transposed : bool
        Whether source and target change places.
    rows, columns : (int, int) or None
        First and last + 1 target and source of the other's matrix, before it is transposed, that
        are used; None for all. For dense connections alone.
    """

    connection: str = bounded(Name())
    transposed: bool = bounded(Flag(), default=True)
    rows: tuple[int, ...] | None = bounded(
        Optional(Items(Whole(0, LARGEST_SIZE), most=2, least=2)), default=None
    )
    columns: tuple[int, ...] | None = bounded(
        Optional(Items(Whole(0, LARGEST_SIZE), most=2, least=2)), default=None
    )

    def faults(self, path: str) -> Iterator[str]:
        """Yield a message for each slice that is empty."""
        for name, part in (("rows", self.rows), ("columns", self.columns)):
            if part is not None and part[0] >= part[1]:
                yield f"{path}.{name}: expected the first before the last + 1, got {list(part)}"


@dataclass(frozen=True, eq=False)
class Connection(ABC):
    """What every kind of connection has.

    Attributes
    ----------
    name : str
    source, variable : str
        Population and its variable that is sent.
    target : str
        Population that receives.
    weight : int8
        Mantissas in +-127; the shape is the kind's.
    exponent : int
        Power of two that turns the accumulator into the target's unit.
    received_as : str
        Name by which the target's programs read the sum.
    shared : Shared or None
        Where the weights are stored if not here; ``weight`` is a view of them.
    """

    kind: ClassVar[str]
    # Axes of the weight array, for messages.
    axes: ClassVar[str]

    name: str = bounded(Name())
    source: str = bounded(Name())
    variable: str = bounded(Name())
    target: str = bounded(Name())
    weight: NDArray[Any] = bounded(Array("int8", 1, -127, 127))
    exponent: int = bounded(Whole(-LARGEST_SHIFT, LARGEST_SHIFT), default=0)
    received_as: str = bounded(Name(), default="received")
    shared: Shared | None = bounded(Optional(Shared), default=None)

    def __repr__(self) -> str:
        shape = " x ".join(str(n) for n in self.weight.shape)
        ends = f"{self.source} -> {self.target}"
        return in_a_line(f"<{type(self).__name__} {self.name}: {ends}, {shape}>")

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Number of neurons of the target and of the source."""

    @abstractmethod
    def product(self, values: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
        """Sum of weight times value at each target neuron: [B, source] -> [B, target]."""

    def apply(self, values: NDArray[Any]) -> NDArray[Any]:
        """What the connection delivers, in 64-bit integers: [B, source] -> [B, target]."""
        return self.product(values, self.weight.astype(np.int64))

    def transposed(self, **ends: Any) -> Connection:
        """The same synapses the other way round; :func:`transpose_of` says what ``ends`` are."""
        raise NetworkError(f"{self.name}: a connection of kind {self.kind!r} has no transpose")

    @property
    def details(self) -> str:
        """What else a listing says of the kind."""
        return ""

    @property
    def working_size(self) -> int:
        """Values of one sample that a product works on at once."""
        return max(self.shape)

    def matrix(self) -> NDArray[np.int8]:
        """The same synapses as a dense matrix, int8 [target, source]."""
        unit = np.eye(self.shape[1], dtype=np.int64)
        return np.ascontiguousarray(self.apply(unit).T.astype(np.int8))

    def reach(self, message: Interval) -> tuple[Interval, Interval]:
        """Bounds of the accumulator while it adds up in any order, and of the finished sum."""
        # Sums of integers below 2**53 are exact in floats, in any order.
        positive, negative = (
            cut(self.weight, 0).astype(np.float64) for cut in (np.maximum, np.minimum)
        )
        low, high = (self._row(side) for side in message)
        sides = np.concatenate([low, high, np.minimum(low, 0.0), np.maximum(high, 0.0)])
        up, down = self.product(sides, positive), self.product(sides, negative)
        # Each side of a message goes with the weights by which it lowers, or raises, the sum.
        ends = np.stack([up[0] + down[1], up[1] + down[0], up[2] + down[3], up[3] + down[2]])
        least, most, adding_least, adding_most = np.rint(np.clip(ends, -(2.0**52), 2.0**52)).astype(
            np.int64
        )
        return Interval(adding_least, adding_most), Interval(least, most)

    def _row(self, side: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.broadcast_to(side.astype(np.float64), (1, self.shape[1]))

    def faults(self, path: str) -> Iterator[str]:
        """Yield a message for each part that does not fit the others."""
        yield from ()


@dataclass(frozen=True, eq=False, repr=False)
class Dense(Connection):
    """All-to-all: ``sum_j weight[i, j] * value[j]``; weight int8 [target, source]."""

    kind = "dense"
    axes = "target, source"

    weight: NDArray[Any] = bounded(Array("int8", 2, -127, 127))

    @property
    def shape(self) -> tuple[int, int]:
        """Number of neurons of the target and of the source."""
        return int(self.weight.shape[0]), int(self.weight.shape[1])

    def product(self, values: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
        """``values @ weight.T``."""
        return values @ weight.T

    def transposed(self, **ends: Any) -> Connection:
        """The transposed matrix, a view."""
        return Dense(weight=self.weight.T, **ends)


@dataclass(frozen=True, eq=False, repr=False)
class OneToOne(Connection):
    """Neuron i to neuron i: ``weight[i] * value[i]``; weight int8 [n]."""

    kind = "one_to_one"
    axes = "neuron"

    @property
    def shape(self) -> tuple[int, int]:
        """Number of neurons of the target and of the source."""
        return len(self.weight), len(self.weight)

    @property
    def is_identity(self) -> bool:
        """Whether every weight is 1."""
        return bool(np.all(self.weight == 1))

    def product(self, values: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
        """``values * weight``."""
        return values * weight


@dataclass(frozen=True, eq=False, repr=False)
class Convolution(Connection):
    """Two-dimensional convolution, as in deep learning (a correlation), without dilation.

    ``out[o, y, x] = sum_{c, i, j} weight[o, c, i, j] * in[c, stride y + i - padding, ...]``, values
    outside the picture being 0. Neurons are numbered channel first:
    ``(c * height + y) * width + x``.

    Attributes
    ----------
    weight : int8 [target channels, source channels, kernel height, kernel width]
    source_shape, target_shape : (int, int, int)
        Channels, height, width. A target smaller than the input allows is cut at its far edges;
        the last slide may reach beyond them, as odd sides need, while it begins within the picture.
    stride, padding : int
    """

    kind = "convolution"
    axes = "target channel, source channel, height, width"

    weight: NDArray[Any] = bounded(Array("int8", 4, -127, 127))
    source_shape: tuple[int, ...] = bounded(Items(_SIDE, most=3, least=3), kw_only=True)
    target_shape: tuple[int, ...] = bounded(Items(_SIDE, most=3, least=3), kw_only=True)
    stride: int = bounded(Whole(1, 64), default=1, kw_only=True)
    padding: int = bounded(Whole(0, 64), default=0, kw_only=True)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of neurons of the target and of the source."""
        return math.prod(self.target_shape), math.prod(self.source_shape)

    @property
    def wide(self) -> tuple[int, ...]:
        """Shape on the side that slides are taken from."""
        return self.source_shape

    @property
    def narrow(self) -> tuple[int, ...]:
        """Shape on the side with one value per slide."""
        return self.target_shape

    @property
    def details(self) -> str:
        """What else a listing says of the kind."""
        return f", stride {self.stride}, padding {self.padding}"

    @property
    def padded(self) -> tuple[int, int, int]:
        """Shape of the wide side with what the slides meet before and behind it."""
        channels, height, width = (
            side if axis == 0 else max(side + 2 * self.padding, self._met(axis))
            for axis, side in enumerate(self.wide)
        )
        return channels, height, width

    def _met(self, axis: int) -> int:
        return (self.narrow[axis] - 1) * self.stride + int(self.weight.shape[axis + 1])

    @property
    def working_size(self) -> int:
        """Values of all slides of one picture, or of one padded picture."""
        slides = self.narrow[1] * self.narrow[2] * math.prod(self.weight.shape[1:])
        return max(slides, math.prod(self.padded))

    def transposed(self, **ends: Any) -> Connection:
        """The transposed convolution with the same weights."""
        return TransposedConvolution(weight=self.weight, **self._reversed(), **ends)

    def _reversed(self) -> dict[str, Any]:
        return {
            "source_shape": self.target_shape,
            "target_shape": self.source_shape,
            "stride": self.stride,
            "padding": self.padding,
        }

    def product(self, values: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
        """One matrix product of all slides, which floats leave to BLAS."""
        maps, channels, *kernel = weight.shape
        _, height, width = self.narrow
        pictures = self._padded(values.reshape(len(values), *self.wide))
        # NumPy declares the axes as one number.
        axes: Any = (2, 3)
        slides = np.lib.stride_tricks.sliding_window_view(pictures, tuple(kernel), axes)
        slides = slides[:, :, :: self.stride, :: self.stride][:, :, :height, :width]
        rows = slides.transpose(0, 2, 3, 1, 4, 5).reshape(-1, channels * math.prod(kernel))
        sums = rows @ weight.reshape(maps, -1).T
        return (
            sums.reshape(len(values), height * width, maps).swapaxes(1, 2).reshape(len(values), -1)
        )

    def _padded(self, pictures: NDArray[Any]) -> NDArray[Any]:
        samples, _, height, width = pictures.shape
        pad = self.padding
        padded = np.zeros((samples, *self.padded), pictures.dtype)
        padded[:, :, pad : pad + height, pad : pad + width] = pictures
        return padded

    def _positions(self, height: int, width: int) -> Iterator[tuple[int, int, slice, slice]]:
        """Yield each kernel position with the rows and columns of the padded picture it meets."""
        for i in range(self.weight.shape[2]):
            for j in range(self.weight.shape[3]):
                yield i, j, _strided(i, height, self.stride), _strided(j, width, self.stride)

    def faults(self, path: str) -> Iterator[str]:
        """Yield a message for each part that does not fit the others."""
        channels = self.narrow[0], self.wide[0]
        if self.weight.shape[:2] != channels:
            yield (
                f"{path}.weight: expected {channels[0]} x {channels[1]} channels, got "
                f"{self.weight.shape[0]} x {self.weight.shape[1]}"
            )
        smallest = min(self.weight.shape[2:])
        if self.padding >= smallest:
            yield f"{path}.padding: expected less than the kernel's {smallest}, got {self.padding}"
            return
        for axis, side in ((1, "height"), (2, "width")):
            most = (self.wide[axis] + self.padding - 1) // self.stride + 1
            if not 1 <= self.narrow[axis] <= most:
                yield (
                    f"{path}: {side} {self.wide[axis]} with padding {self.padding} and stride "
                    f"{self.stride} gives at most {most} values, got {self.narrow[axis]}"
                )


@dataclass(frozen=True, eq=False, repr=False)
class TransposedConvolution(Convolution):
    """The transpose of the :class:`Convolution` that maps its target to its source.

    The weight array is that convolution's own: int8 [source channels, target channels, height,
    width]. The target's shape is stored, so that odd sides are exact.
    """

    kind = "transposed_convolution"
    axes = "source channel, target channel, height, width"

    @property
    def wide(self) -> tuple[int, ...]:
        """Shape on the side that slides are taken from."""
        return self.target_shape

    @property
    def narrow(self) -> tuple[int, ...]:
        """Shape on the side with one value per slide."""
        return self.source_shape

    def transposed(self, **ends: Any) -> Connection:
        """The convolution with the same weights."""
        return Convolution(weight=self.weight, **self._reversed(), **ends)

    def product(self, values: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
        """Spread each value over the positions that its slide was taken from."""
        maps, rows, columns = self.narrow
        _, height, width = self.wide
        pad = self.padding
        spread = weight.reshape(maps, -1).T @ values.reshape(len(values), maps, -1)
        spread = spread.reshape(len(values), *weight.shape[1:], rows, columns)
        out = np.zeros((len(values), *self.padded), spread.dtype)
        for i, j, tall, broad in self._positions(rows, columns):
            out[:, :, tall, broad] += spread[:, :, i, j]
        cut = out[:, :, pad : pad + height, pad : pad + width]
        return cut.reshape(len(values), -1)


def _strided(first: int, count: int, stride: int) -> slice:
    return slice(first, first + stride * (count - 1) + 1, stride)


CONNECTION_KINDS: dict[str, type[Connection]] = {
    kind.kind: kind for kind in (Dense, OneToOne, Convolution, TransposedConvolution)
}


def resolve(stored: NDArray[Any], shared: Shared) -> NDArray[Any]:
    """View of a stored weight array under another connection's name."""
    if stored.ndim != 2:
        return stored
    rows = slice(*shared.rows) if shared.rows is not None else slice(None)
    columns = slice(*shared.columns) if shared.columns is not None else slice(None)
    view = stored[rows, columns]
    return view.T if shared.transposed else view


@checked
def transpose_of(
    connection: Connection,
    name: str,
    source: str,
    variable: str,
    target: str,
    *,
    exponent: int = 0,
    received_as: str = "received",
) -> Connection:
    """The same synapses the other way round; the weights are stored once.

    Parameters
    ----------
    connection : Connection
        Holds the weights.
    name, source, variable, target, exponent, received_as
        As in :class:`Connection`.

    Raises
    ------
    NetworkError
        If a connection of that kind has no transpose.
    """
    return connection.transposed(
        name=name,
        source=source,
        variable=variable,
        target=target,
        exponent=exponent,
        received_as=received_as,
        shared=Shared(connection.name),
    )
