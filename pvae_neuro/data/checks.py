"""Refuse images that a model cannot take."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pvae_neuro.data.arrays import Float32, ImageShape
from pvae_neuro.errors import InputError


def check_images(
    x: npt.ArrayLike,
    pixels: int,
    image_shape: ImageShape | None = None,
    low: float = 0.0,
    high: float = 1.0,
    clip: bool = False,
) -> Float32:
    """Refuse images that a model cannot take, and flatten the others.

    Parameters
    ----------
    x : array_like
        [N, M], [N, H, W] or [N, C, H, W], in the range that the model declares. Bytes are not
        rescaled.
    pixels : int
        M of the model.
    image_shape : tuple of int, optional
        (H, W) or (C, H, W) of the model, if its inputs are images. A grey model takes
        [N, 1, H, W] too.
    low, high : float
        The declared range.
    clip : bool
        Clip values outside the range instead of refusing them.

    Returns
    -------
    ndarray of float32, [N, M]
        Contiguous; never aliases an array that a caller may change.

    Raises
    ------
    InputError
        If the shape does not fit, the batch is empty, or values are not numbers, not finite or
        out of range.
    """
    values = np.asarray(x)
    if values.dtype.kind not in "fiub":
        raise InputError(f"images: expected real numbers, got dtype {values.dtype}")
    flat = _flatten(values, pixels, image_shape)
    result = to_float32(flat)
    check_finite(result)
    if clip:
        return np.clip(result, np.float32(low), np.float32(high), out=result)
    _check_range(result, low, high)
    return result


def to_float32(values: npt.NDArray[Any]) -> Float32:
    """A contiguous float32 copy; what is too large becomes infinite."""
    # The checks that follow refuse infinite values.
    with np.errstate(over="ignore"):
        return np.array(values, dtype=np.float32, order="C")


def check_finite(values: Float32) -> None:
    """Refuse NaN and infinite values.

    Raises
    ------
    InputError
        Says how many there are and which image holds the first.
    """
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.argmax(bad.any(axis=1)))
        raise InputError(
            f"images: {int(bad.sum())} values are NaN or infinite, the first in image {row}; "
            f"expected finite numbers: clean the data (--clip does not repair them)"
        )


def _flatten(
    values: npt.NDArray[Any], pixels: int, image_shape: ImageShape | None
) -> npt.NDArray[Any]:
    given = values.shape[1:]
    fits: list[tuple[int, ...]] = [(pixels,)]
    if image_shape is not None:
        fits.append(tuple(image_shape))
    # A single channel changes nothing in the order of the pixels.
    squeezed = given[1:] if len(given) == 3 and given[0] == 1 else given
    if values.ndim < 2 or (given not in fits and squeezed not in fits):
        shapes = " or ".join(f"[N, {', '.join(map(str, shape))}]" for shape in fits)
        hint = "; add a leading axis for a single image" if values.size == pixels else ""
        raise InputError(f"images: expected shape {shapes}, got {list(values.shape)}{hint}")
    if len(values) == 0:
        raise InputError(f"images: expected at least one, got an empty batch {list(values.shape)}")
    return values.reshape(len(values), pixels)


def _check_range(values: Float32, low: float, high: float) -> None:
    lowest, highest = float(values.min()), float(values.max())
    # Half a float16 step of slack: the declared bound itself may have been rounded on the way.
    slack = 1e-6 * max(abs(low), abs(high))
    if lowest < low - slack or highest > high + slack:
        hint = "divide bytes by 255, or " if highest > 1.0 and highest <= 255.0 else ""
        raise InputError(
            f"images: expected values in [{low:g}, {high:g}], the range that the model was trained "
            f"on, got [{lowest:g}, {highest:g}]; {hint}clip them (--clip)"
        )
