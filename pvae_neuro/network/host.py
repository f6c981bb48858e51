"""What the host does around a network: check and encode inputs, read counts out.

Host sums are exact 64-bit integers. :func:`host_rows` proves that none can overflow, as the
certificate does for the neurons.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.network.bounds import Array, Items, Name, Optional, Real, Whole, bounded
from pvae_neuro.network.interval import Interval, Ints
from pvae_neuro.network.operations import shift_right
from pvae_neuro.network.population import LARGEST_SIZE, WORD_MAX
from pvae_neuro.utils.arrays import real_array
from pvae_neuro.utils.decoded import Decoded, Rows, pieces
from pvae_neuro.utils.edges import advice, tolerance
from pvae_neuro.utils.show import short_repr

ImageShape = tuple[int, int] | tuple[int, int, int]
"""(height, width), or (colours, height, width)."""
INT32_MAX = (1 << 31) - 1
LARGEST_INPUT = 1e9
"""Largest magnitude of a declared input."""
_Float = TypeVar("_Float", np.float32, np.float64)


@dataclass(frozen=True, eq=False)
class Input:
    """What a run is given: images, whose pixels become ``x = rint(image * 2**frac_bits)``.

    Rounded half to even.

    Attributes
    ----------
    size : int
        Number of pixels M.
    low, high : float
        Declared range, inclusive: certificates hold within it alone.
    frac_bits : int
        Fixed-point position of a pixel.
    image_shape : tuple of int or None
        (height, width), or (colours, height, width), for display.
    """

    size: int = bounded(Whole(1, LARGEST_SIZE))
    low: float = bounded(Real(-LARGEST_INPUT, LARGEST_INPUT))
    high: float = bounded(Real(-LARGEST_INPUT, LARGEST_INPUT))
    frac_bits: int = bounded(Whole(-16, 40))
    image_shape: ImageShape | None = bounded(
        Optional(Items(Whole(1, LARGEST_SIZE), most=3, least=2)), default=None
    )

    def encode(self, images: ArrayLike) -> NDArray[np.int32]:
        """Turn float images [..., M] into integers of unit 2**-frac_bits."""
        scaled = np.array(images, dtype=np.float64)
        scaled *= 2.0**self.frac_bits
        return np.rint(scaled, out=scaled).astype(np.int32)

    def check(self, images: object, clip: bool = False) -> NDArray[np.float64]:
        """Images as they are run: float64 [N, M] within the declared range.

        Parameters
        ----------
        images : array_like
            Real numbers [N, M], or [N, H, W] or [N, C, H, W] of the declared shape; a grey model
            takes [N, 1, H, W] too.
        clip : bool
            Clip all values to the range. Values that leave it by no more than a few roundings
            (:data:`~pvae_neuro.utils.edges.EDGE_TOLERANCE`) are clipped in any case.

        Raises
        ------
        InputError
            If shape, range or a value does not fit, or there is no image.
        """
        return self._checked(images, np.float64, clip)

    def floats(self, images: object, clip: bool = False) -> NDArray[np.float32]:
        """Images as float models are given them: as :meth:`check`, in float32."""
        return self._checked(images, np.float32, clip)

    def accept(self, images: object, clip: bool = False) -> Rows:
        """Images [N, M] that :meth:`check` takes, as they are stored: nothing is copied.

        Images that are decoded piece by piece stay so. Raises what :meth:`check` raises.
        """
        given = images if isinstance(images, Decoded) else real_array("inputs", images)
        flat = self._flat(given)
        self._check_values(flat, clip)
        return flat

    def _checked(self, images: object, dtype: type[_Float], clip: bool) -> NDArray[_Float]:
        # Before the conversion, which may round a value onto the range or beyond it.
        return self.clipped(self.accept(images, clip), dtype)

    def clipped(self, accepted: Rows, dtype: type[_Float]) -> NDArray[_Float]:
        """What :meth:`accept` returned, as floats within the declared range."""
        with np.errstate(over="ignore"):  # Clipped, as was asked for.
            floats = np.asarray(accepted).astype(dtype)
        return np.clip(floats, dtype(self.low), dtype(self.high), out=floats)

    def _check_values(self, values: Rows, clip: bool) -> None:
        # A value that is not finite is, or makes, an end that is not.
        ends = np.array([(piece.min(), piece.max()) for piece in pieces(values)], np.float64)
        if not np.isfinite(ends).all():
            bad = np.concatenate([(~np.isfinite(piece)).sum(axis=1) for piece in pieces(values)])
            raise InputError(
                f"inputs: expected finite values, got {int(bad.sum()):,} that are NaN or infinite, "
                f"the first in image {int(np.argmax(bad > 0))}; clean the data"
            )
        low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
        slack = tolerance(self.low, self.high)
        if not clip and (low < self.low - slack or high > self.high + slack):
            text, remedy = advice(values, self.low, self.high)
            raise InputError(
                f"inputs: expected values in [{self.low:.9g}, {self.high:.9g}], the declared "
                f"range, got [{low:.9g}, {high:.9g}]; {text}",
                remedy,
            )

    def _flat(self, images: Rows) -> Rows:
        """Images [N, M], which may share memory with the given ones."""
        shape, single = images.shape[1:], self.image_shape is not None and len(self.image_shape) < 3
        allowed = [(self.size,), *([self.image_shape] if self.image_shape else [])]
        # A single channel changes nothing in the order of the pixels.
        shape = shape[1:] if single and len(shape) == 3 and shape[0] == 1 else shape
        if images.ndim < 2 or shape not in allowed or not len(images):
            expected = " or ".join(f"[N, {', '.join(map(str, each))}]" for each in allowed)
            raise InputError(
                f"inputs: expected shape {expected} with N >= 1, got {list(images.shape)}"
                f"{self._hint(images)}"
            )
        return images.reshape(len(images), self.size)

    def _hint(self, images: Rows) -> str:
        """What images of another shape may be; begins with a semicolon, or is empty."""
        shape, own = images.shape, self.image_shape or (self.size,)
        hints = (
            (shape in ((self.size,), own), "add a leading axis for a single image"),
            (shape[:-1] in ((self.size,), own), "the number of images comes first here"),
            (shape[1:] == (3, *own), "these are in colour and the model takes grey images"),
            (shape[1:] == own[1:] and len(own) == 3, "these are grey; the model takes colours"),
            (
                len(own) == 3 and shape[1:] == (*own[1:], own[0]),
                "colours come before height and width here",
            ),
            (shape[1:] == own[::-1], "height and width look exchanged"),
            (
                len(shape) > 2 and bool(len(images)) and images.size == len(images) * self.size,
                "as many pixels in another shape would be other pictures",
            ),
        )
        return next((f"; {hint}" for fits, hint in hints if fits), "")

    @property
    def interval(self) -> Interval:
        """Smallest and largest encoded pixel."""
        sides = (np.rint(side * 2.0**self.frac_bits) for side in (self.low, self.high))
        low, high = (np.clip(np.array([side]), -(2.0**52), 2.0**52) for side in sides)
        return Interval(low.astype(np.int64), high.astype(np.int64))

    def faults(self, path: str) -> Iterator[str]:
        """Yield a message for each part that does not fit the others."""
        if not self.low < self.high:
            yield f"{path}: expected low < high, got {self.low} and {self.high}"
        if self.image_shape is not None and np.prod(self.image_shape, dtype=object) != self.size:
            yield f"{path}.image_shape: expected {self.size} pixels, got {list(self.image_shape)}"
        low, high = self.interval
        if max(-int(low[0]), int(high[0])) > INT32_MAX:
            yield (
                f"{path}: pixels of [{self.low:g}, {self.high:g}] in units of 2^-{self.frac_bits} "
                f"exceed 32 bits; lower frac_bits"
            )


@dataclass(frozen=True, eq=False)
class Encoding:
    """How the host sets an input population, once per frame.

    Without weights the value is the encoded pixel x itself. With weights, as for a feed-forward
    drive: ``clamp((weight @ x + 2**(shift-1)) >> shift, -limit, limit)``.

    Attributes
    ----------
    population, variable : str
        Which variable is set.
    weight : int32 [n, M] or None
        Wide mantissas: this product never runs on the chip.
    shift : int
        Right shift to the variable's unit; rounds half up, and is defined at 0.
    limit : int
        Saturation.
    """

    population: str = bounded(Name())
    variable: str = bounded(Name())
    weight: NDArray[Any] | None = bounded(Optional(Array("int32", 2)), default=None)
    shift: int = bounded(Whole(0, 62), default=0)
    limit: int = bounded(Whole(1, WORD_MAX), default=WORD_MAX)

    __repr__ = short_repr

    def apply(self, x: NDArray[np.int32]) -> Ints:
        """Values of the variable for encoded pixels [B, M]: int64 [B, n]."""
        if self.weight is None:
            return x.astype(np.int64)
        product = x.astype(np.int64) @ self.weight.T.astype(np.int64)
        return np.clip(shift_right(product, self.shift), -self.limit, self.limit)

    def reach(self, pixel: Interval) -> Interval:
        """Bounds of the product, before its shift; of the pixel itself without weights."""
        if self.weight is None:
            return pixel
        # Floats show how large a sum may be, in any order; below 2**53 they are exact.
        weight = self.weight.astype(np.float64)
        low, high = float(pixel.low[0]), float(pixel.high[0])
        positive = np.maximum(weight, 0.0).sum(axis=1)
        negative = np.minimum(weight, 0.0).sum(axis=1)
        below = positive * min(low, 0.0) + negative * max(high, 0.0)
        above = positive * max(high, 0.0) + negative * min(low, 0.0)
        return Interval(_saturated(below), _saturated(above))

    def interval(self, pixel: Interval) -> Interval:
        """Bounds of the variable."""
        if self.weight is None:
            return pixel
        low, high = (shift_right(side, self.shift) for side in self.reach(pixel))
        return Interval(
            np.clip(low, -self.limit, self.limit), np.clip(high, -self.limit, self.limit)
        )


@dataclass(frozen=True, eq=False)
class Readout:
    """Reconstruction on the host: ``image = (weight @ value) * 2**-frac_bits``.

    The weights are those of its own array, or of a dense connection from the same variable; with
    neither, the value itself is the image.

    Attributes
    ----------
    population, variable : str
        Which variable is read, after ``final``.
    weight : int16 [M, n] or None
        Wide mantissas.
    connection : str or None
        Dense connection whose weights are the readout's.
    frac_bits : int
        Fixed-point position of the reconstruction.
    """

    population: str = bounded(Name())
    variable: str = bounded(Name())
    weight: NDArray[Any] | None = bounded(Optional(Array("int16", 2)), default=None)
    connection: str | None = bounded(Optional(Name()), default=None)
    frac_bits: int = bounded(Whole(-16, 40), default=0)

    __repr__ = short_repr

    def faults(self, path: str) -> Iterator[str]:
        """Yield a message for each part that does not fit the others."""
        if self.weight is not None and self.connection is not None:
            yield f"{path}: expected weights of its own or a connection's, got both"


def _saturated(values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.clip(values, -(2.0**62), 2.0**62).astype(np.int64)
