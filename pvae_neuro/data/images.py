"""Images in memory, and the checks that they pass before a model takes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pvae_neuro.errors import InputError

if TYPE_CHECKING:
    from pvae_neuro.network import ImageShape

Float32 = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

COLOURS = 3


@dataclass(frozen=True, eq=False)
class Images:
    """A set of images, flattened."""

    pixels: Float32
    """[N, M], one image per row, within ``[low, high]``."""

    labels: Labels | None
    """[N], classes."""

    image_shape: ImageShape | None
    """(H, W) of grey images or (3, H, W) in colour; pixels are flattened in that order."""

    low: float
    high: float
    """Declared range of the values."""

    name: str
    """Where the images came from."""

    def select(self, indices: slice | npt.NDArray[np.int64]) -> Images:
        """Some of the images, with their labels."""
        labels = None if self.labels is None else self.labels[indices]
        return replace(self, pixels=self.pixels[indices], labels=labels)

    def take(self, count: int | None) -> Images:
        """The first ``count`` images; all of them for None or where there are no more."""
        if count is None or count >= len(self.pixels):
            return self
        # A copy, so that the memory of the whole set can be freed.
        return self.select(np.arange(count))

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


def make_images(
    values: npt.NDArray[Any], labels: npt.NDArray[Any] | None = None, name: str = "images"
) -> Images:
    """Images from an array [N, M], [N, H, W] or [N, C, H, W], C 1 or 3, and integer labels [N].

    Bytes are divided by 255. Values that fit [0, 1] declare that range, others [-m, m], m the
    largest magnitude.

    Raises :class:`InputError` if the values are no images, or if there is not one label for each.
    """
    if values.ndim not in (2, 3, 4) or values.size == 0 or values.dtype.kind not in "fiub":
        raise InputError(
            f"{name}: expected numbers of shape [N, M], [N, H, W] or [N, C, H, W], got "
            f"{values.dtype} {list(values.shape)}"
        )
    shape = image_shape_of(values.shape, name)
    pixels = _to_float32(values.reshape(len(values), -1))
    if values.dtype == np.uint8:
        pixels /= np.float32(255)
    _check_finite(pixels)
    low, high = natural_range(float(pixels.min()), float(pixels.max()))
    return Images(pixels, _check_labels(labels, len(pixels), name), shape, low, high, name)


def check_images(
    x: npt.ArrayLike,
    pixels: int,
    image_shape: ImageShape | None = None,
    low: float = 0.0,
    high: float = 1.0,
    clip: bool = False,
) -> Float32:
    """Refuse images that a model cannot take; flatten the others to a fresh float32 [N, M].

    Parameters
    ----------
    x : array_like
        [N, M], [N, H, W] or [N, C, H, W]; a grey model takes [N, 1, H, W] too. Bytes are not
        rescaled.
    pixels, image_shape, low, high
        M, shape and range that the model declares.
    clip : bool
        Clip values outside the range instead of refusing them.

    Raises
    ------
    InputError
        If the shape does not fit, the batch is empty, or values are not finite real numbers within
        the range.
    """
    values = np.asarray(x)
    if values.dtype.kind not in "fiub":
        raise InputError(f"images: expected real numbers, got dtype {values.dtype}")
    result = _to_float32(_flatten(values, pixels, image_shape))
    _check_finite(result)
    if clip:
        return np.clip(result, np.float32(low), np.float32(high), out=result)
    _check_range(result, low, high)
    return result


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
    channels_last = len(batch) == 4 and batch[3] in (1, COLOURS)
    hint = "; channels come first here: images.transpose(0, 3, 1, 2)" if channels_last else ""
    raise InputError(
        f"{name}: expected shape [N, M], [N, H, W] or [N, C, H, W] with C 1 or 3, "
        f"got {list(batch)}{hint}"
    )


def natural_range(lowest: float, highest: float) -> tuple[float, float]:
    """Range to declare for values that span [lowest, highest]: [0, 1] or a symmetric one."""
    size = max(-lowest, highest)
    return (0.0, 1.0) if lowest >= 0.0 and highest <= 1.0 else (-size, size)


def check_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """(H, W) from one number, for squares, or from two whole numbers of at least 1."""
    pair: Any = (size, size) if isinstance(size, int | np.integer) else size
    whole = isinstance(pair, tuple | list) and all(isinstance(s, int | np.integer) for s in pair)
    if not whole or len(pair) != 2 or min(pair) < 1 or isinstance(size, bool):
        raise InputError(f"size: expected pixels, one whole number or (H, W), got {size!r}")
    return int(pair[0]), int(pair[1])


def _to_float32(values: npt.NDArray[Any]) -> Float32:
    # Too large values become infinite, which the checks that follow refuse.
    with np.errstate(over="ignore"):
        return np.array(values, dtype=np.float32, order="C")


def _check_finite(values: Float32) -> None:
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.argmax(bad.any(axis=1)))
        raise InputError(
            f"images: {int(bad.sum())} values are NaN or infinite, the first in image {row}; "
            f"expected finite numbers, to which clipping cannot repair them: clean the data"
        )


def _flatten(
    values: npt.NDArray[Any], pixels: int, image_shape: ImageShape | None
) -> npt.NDArray[Any]:
    shape = values.shape[1:]
    allowed: list[tuple[int, ...]] = [(pixels,)]
    if image_shape is not None:
        allowed.append(tuple(image_shape))
    # A single channel changes nothing in the order of the pixels.
    squeezed = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
    if values.ndim < 2 or (shape not in allowed and squeezed not in allowed):
        shapes = " or ".join(f"[N, {', '.join(map(str, each))}]" for each in allowed)
        hint = "; add a leading axis for a single image" if values.size == pixels else ""
        raise InputError(f"images: expected shape {shapes}, got {list(values.shape)}{hint}")
    if len(values) == 0:
        raise InputError(f"images: expected at least one, got an empty batch {list(values.shape)}")
    return values.reshape(len(values), pixels)


def _check_range(values: Float32, low: float, high: float) -> None:
    lowest, highest = float(values.min()), float(values.max())
    # Some slack, because the declared bounds themselves may have been rounded to float32.
    slack = 1e-6 * max(abs(low), abs(high))
    if lowest < low - slack or highest > high + slack:
        hint = "divide bytes by 255, or " if 1.0 < highest <= 255.0 else ""
        raise InputError(
            f"images: expected values in [{low:g}, {high:g}], the range that the model was trained "
            f"on, got [{lowest:g}, {highest:g}]; {hint}clip them"
        )


def _check_labels(labels: npt.NDArray[Any] | None, count: int, name: str) -> Labels | None:
    if labels is None:
        return None
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise InputError(
            f"{name}: expected {count} integer labels, one per image, got {labels.dtype} "
            f"{list(labels.shape)}"
        )
    return labels.astype(np.int64)
