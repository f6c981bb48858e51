"""Images in memory, and the checks that they pass before a model takes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pvae_neuro.data.contents import Contents
from pvae_neuro.data.layout import ORDERS, arrange
from pvae_neuro.data.scale import check_scale, divisor
from pvae_neuro.errors import InputError
from pvae_neuro.network.host import LARGEST_INPUT
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.arrays import real_array
from pvae_neuro.utils.decoded import Decoded, pieces
from pvae_neuro.utils.edges import tolerance
from pvae_neuro.utils.show import show

if TYPE_CHECKING:
    from pvae_neuro.network import ImageShape, Input

Float32 = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

COLOURS = 3
# Sides of pictures that formats can store.
_LONGEST = 1 << 16
# Orders of axes in which colours are looked for, with their axis.
_COLOURS_LATER = {"NHWC": 3, "HWCN": 2}


@dataclass(frozen=True, eq=False)
class Images:
    """A set of images, flattened."""

    pixels: Float32
    """[N, M], one image per row, within ``[low, high]``. Where they are streamed, a
    :class:`~pvae_neuro.utils.decoded.Decoded`, which has the part of an array's interface that
    reading in order needs."""

    labels: Labels | None
    """[N], classes."""

    image_shape: ImageShape | None
    """(H, W) of grey images or (3, H, W) in colour; pixels are flattened in that order."""

    low: float
    high: float
    """Declared range of the values."""

    name: str
    """Where the images came from."""

    about: str = ""
    """What was read and how it was taken, in one line."""

    part: str = "all"
    """The part of a data set that they are; ``all`` too where it has none."""

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.image_shape or self.pixels.shape[1:]))
        labels = "without labels" if self.labels is None else "with labels"
        return (
            f"<Images {show(self.name)}: {len(self.pixels)} of {shape} pixels in "
            f"[{self.low:g}, {self.high:g}], {labels}>"
        )

    def __array__(self, dtype: npt.DTypeLike = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """The pixels: images can be given wherever an array of images can."""
        return (np.array if copy else np.asarray)(self.pixels, dtype)

    def select(self, indices: slice | npt.NDArray[np.int64]) -> Images:
        """Some of the images, with their labels."""
        labels = None if self.labels is None else self.labels[indices]
        return replace(self, pixels=self.pixels[indices], labels=labels)

    def take(self, count: int | None) -> Images:
        """The first ``count`` images; all of them for None or where there are no more."""
        if count is None or count >= len(self.pixels):
            return self
        if isinstance(self.pixels, Decoded):
            labels = None if self.labels is None else self.labels[:count]
            first = replace(self, pixels=self.pixels.take(slice(count)), labels=labels)
        else:
            # A copy, so that the memory of the whole set can be freed.
            first = self.select(np.arange(count))
        return replace(first, about=f"{self.about}; the first {count:,}") if self.about else first

    def planes(self) -> Float32:
        """Pixels as [N, C, H, W], C = 1 for grey images; a view.

        Raises :class:`InputError` if the images are flat.
        """
        if self.image_shape is None:
            raise InputError(
                f"{self.name}: expected images with a height and a width, got flat inputs of "
                f"{self.pixels.shape[1]} pixels; store them as [N, H, W]"
            )
        *channels, height, width = self.image_shape
        return self.pixels.reshape(len(self.pixels), *(channels or [1]), height, width)


@checked
def make_images(
    values: object,
    labels: npt.ArrayLike | None = None,
    name: str = "images",
    *,
    scale: float | None = None,
    layout: str | None = None,
) -> Images:
    """Images from an array [N, M], [N, H, W] or [N, C, H, W], C 1 or 3, and integer labels [N].

    Parameters
    ----------
    values : array_like
        Bytes are divided by 255 and 16-bit numbers by 65535, unless they could mean something else
        (:mod:`pvae_neuro.data.scale`). Values that fit [0, 1] declare that range; if there are
        negative ones, [-m, m], m the largest magnitude. Others need a scale.
    labels : array_like of int [N], optional
    name : str
        Where they came from.
    scale : float, optional
        Divide by this number instead; 1 takes the values as they are.
    layout : str, optional
        Another order of the axes, such as ``HWN``; see :func:`~pvae_neuro.data.layout.arrange`.

    Raises
    ------
    InputError
        If the values are no images or their meaning is not clear, or if there is not one label for
        each.
    """
    if scale is not None:
        scale = check_scale(scale)
    numbers = None if labels is None else real_array(f"{name}: labels", labels)
    return images_of(Contents(values, numbers), name, scale=scale, layout=layout)


def images_of(
    contents: Contents,
    name: str,
    *,
    scale: float | None = None,
    layout: str | None = None,
    model: Input | None = None,
    stream: bool = False,
) -> Images:
    """As :func:`make_images`, of what a reader returned, for a model where that is known.

    What the user says comes before what a format says. With ``stream`` no pixel is converted yet.
    """
    span, wanted = (None, None) if model is None else ((model.low, model.high), model.image_shape)
    values = real_array(name, contents.values)
    order = contents.layout if layout is None else layout
    if order is None and model is not None:
        _refuse_frames(values.shape, model, name)
    values = arrange(values, order, name, wanted)
    if values.ndim not in (2, 3, 4) or values.size == 0:
        raise InputError(
            f"{name}: expected numbers of shape [N, M], [N, H, W] or [N, C, H, W], got "
            f"{values.dtype} {list(values.shape)}"
        )
    shape = image_shape_of(values.shape, name)
    labels = _check_labels(contents.labels, len(values), name)
    rows = values.reshape(len(values), -1)
    declared = _declared(contents.declared, name)
    found = _ends(rows, name)
    divided = divisor(
        values.dtype,
        (float(found[0]), float(found[1])),
        name,
        scale=contents.scale if scale is None else scale,
        declared=declared,
        model_range=span,
    )
    # Rounded as the pixels are.
    lowest, highest = (float(value / np.float32(divided)) for value in found)
    low, high = declared or natural_range(lowest, highest)
    if max(-low, high) > LARGEST_INPUT:
        raise InputError(
            f"{name}: expected values within {LARGEST_INPUT:g} of zero, got [{low:g}, {high:g}]",
            remedy="scale",
        )
    slack = tolerance(low, high)
    if not low - slack <= lowest <= highest <= high + slack:
        raise InputError(
            f"{name}: its array 'range' must be [low, high] around all values, here "
            f"[{lowest:.9g}, {highest:.9g}], got [{low:.9g}, {high:.9g}]"
        )
    # By no more than a few roundings.
    clipped = None if low <= lowest <= highest <= high else (low, high)
    decode = partial(_decoded, divided=divided, clipped=clipped)
    pixels: Any = Decoded(rows, decode, rows.shape[1:]) if stream else decode(rows)
    meaning = contents.meaning or f"{values.dtype} {_divided(divided)}"
    parts = (
        f"{name}: {_described(shape, pixels)}",
        meaning,
        f"values in [{lowest:.6g}, {highest:.6g}]",
        *([] if model else [f"declared range [{low:.6g}, {high:.6g}]"]),
        *_turned(contents, layout),
        *contents.said,
    )
    return Images(pixels, labels, shape, low, high, name, "; ".join(parts), contents.part)


def _refuse_frames(shape: tuple[int, ...], model: Input, name: str) -> None:
    """Refuse what only frames of the model's size can be; three may be the colours of images."""
    own = model.image_shape
    flat = len(shape) == 3 and shape[1] > 1 and shape[2] == model.size
    planes = own is not None and shape[2:] == own and shape[1] not in (1, COLOURS)
    if shape[1:] != own and (flat or planes):
        raise InputError(
            f"{name}: expected images, got {list(shape)}, {shape[0]:,} sequences of {shape[1]:,} "
            f"frames of the model's size, which change in time",
            remedy="frames",
        )


def image_shape_of(batch: tuple[int, ...], name: str) -> ImageShape | None:
    """(H, W) or (3, H, W) of the images in an array of shape ``batch``; None for [N, M]."""
    if len(batch) == 2:
        return None
    if len(batch) == 3:
        return batch[1], batch[2]
    if len(batch) == 4 and batch[1] == 1:
        return batch[2], batch[3]
    if len(batch) == 4 and batch[1] == COLOURS:
        return COLOURS, batch[2], batch[3]
    last = next((o for o, axis in _COLOURS_LATER.items() if batch[axis] in (1, COLOURS)), None)
    hint = f"; colours come first here: give the layout {last} if that is their order"
    raise InputError(
        f"{name}: expected shape [N, M], [N, H, W] or [N, C, H, W] with C 1 or 3, "
        f"got {list(batch)}{hint if last else ''}",
        remedy="layout" if last else None,
    )


def natural_range(lowest: float, highest: float) -> tuple[float, float]:
    """Range to declare for values that span [lowest, highest]: [0, 1] or a symmetric one.

    Values that leave [0, 1] by a rounding or two count as within it.
    """
    slack = tolerance(0.0, 1.0)
    size = max(-lowest, highest)
    return (0.0, 1.0) if lowest >= -slack and highest <= 1.0 + slack else (-size, size)


def check_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """(H, W) from one number, for squares, or from two whole numbers of at least 1."""
    pair: Any = (size, size) if isinstance(size, int | np.integer) else size
    whole = isinstance(pair, tuple | list) and all(isinstance(s, int | np.integer) for s in pair)
    fits = whole and len(pair) == 2 and all(1 <= side <= _LONGEST for side in pair)
    if not fits or isinstance(size, bool):
        raise InputError(
            f"size: expected pixels, one whole number from 1 to {_LONGEST} or (H, W), got {size!r}"
        )
    return int(pair[0]), int(pair[1])


def _to_float32(values: npt.NDArray[Any]) -> Float32:
    # Too large values become infinite, which the checks that follow refuse.
    with np.errstate(over="ignore"):
        return np.array(values, dtype=np.float32, order="C")


def _decoded(
    values: npt.NDArray[Any], divided: float, clipped: tuple[float, float] | None
) -> Float32:
    """Pixels of stored values."""
    pixels = _to_float32(values)
    if divided != 1.0:
        pixels /= np.float32(divided)
    if clipped is not None:
        np.clip(pixels, np.float32(clipped[0]), np.float32(clipped[1]), out=pixels)
    return pixels


def _ends(rows: npt.NDArray[Any], name: str) -> tuple[np.float32, np.float32]:
    """Lowest and highest of the values [N, M] as float32."""
    ends = [(part.min(), part.max()) for part in map(_to_float32, pieces(rows))]
    if rows.dtype.kind == "f" and not np.isfinite(ends).all():
        bad = [(~np.isfinite(part)).sum(axis=1) for part in map(_to_float32, pieces(rows))]
        count = np.concatenate(bad)
        raise InputError(
            f"{name}: expected finite numbers within float32, got {int(count.sum()):,} that are "
            f"NaN or infinite, the first in image {int(np.argmax(count > 0))}; clean the data"
        )
    lowest, highest = zip(*ends, strict=True)
    return min(lowest), max(highest)


def _declared(values: npt.NDArray[Any] | None, name: str) -> tuple[float, float] | None:
    """The range that a file declares."""
    if values is None:
        return None
    numbers = values.shape == (2,) and values.dtype.kind in "fiu"
    low, high = map(float, values.tolist()) if numbers else (0.0, 0.0)
    if not (low < high and np.isfinite([low, high]).all()):
        raise InputError(
            f"{name}: its array 'range' must be [low, high], two finite numbers, got "
            f"{values.dtype} {values.tolist() if values.size <= 4 else list(values.shape)}"
        )
    return low, high


def _described(shape: ImageShape | None, pixels: Float32) -> str:
    count = len(pixels)
    images = "image" if count == 1 else "images"
    if shape is None:
        return f"{count:,} flat {images} of {pixels.shape[1]:,} pixels"
    kind = "grey" if len(shape) == 2 else "colour"
    return f"{count:,} {kind} {images} of {shape[-2]}x{shape[-1]} (height x width)"


def _divided(by: float) -> str:
    return "as they are" if by == 1.0 else f"divided by {by:g}"


def _turned(contents: Contents, layout: str | None) -> tuple[str, ...]:
    order = layout or contents.layout
    if order is None or order.upper() in ORDERS:
        return ()
    said = "as asked" if layout else "as its format stores them"
    return (f"axes of {list(np.shape(contents.values))} read as {order.upper()}, {said}",)


def _check_labels(labels: npt.NDArray[Any] | None, count: int, name: str) -> Labels | None:
    if labels is None:
        return None
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise InputError(
            f"{name}: expected {count} integer labels, one per image, got {labels.dtype} "
            f"{list(labels.shape)}"
        )
    return labels.astype(np.int64)
