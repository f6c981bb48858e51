"""The order of the axes of an array of images."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from pvae_neuro.errors import InputError

ORDERS = ("NM", "NHW", "NCHW")
"""Orders of axes that need no change."""

# Images are not so long and narrow; stacks read along the wrong axis are.
_MOST_ASPECT = 8


def arrange(
    values: npt.NDArray[Any],
    layout: str | None,
    name: str,
    wanted: tuple[int, ...] | None = None,
) -> npt.NDArray[Any]:
    """The array as [N, M], [N, H, W] or [N, C, H, W].

    Parameters
    ----------
    values : array
    layout : str, optional
        Its axes, one letter each: N images, C colours, H height, W width, or M pixels of flat
        inputs; such as ``HWN``, the order of MATLAB. Without N it is a single image. By default
        the array is in order already.
    name : str
        Where it came from.
    wanted : tuple of int, optional
        Shape of the images that a model takes; it is certain where it fits.

    Raises
    ------
    InputError
        If the letters do not name the axes, or, without a layout, the images would be of a shape
        that only another order explains.
    """
    if layout is None:
        if values.shape[1:] != wanted:
            _check_plausible(values.shape, name)
        return values
    letters, shape = layout.upper(), list(values.shape)
    if "N" not in letters:
        values, letters = values[None], "N" + letters
    order = next((o for o in ORDERS if sorted(o) == sorted(letters)), None)
    if order is None or values.ndim != len(letters):
        raise InputError(
            f"{name}: expected a layout that names the {len(shape)} axes of {shape} "
            f"with the letters N, M or N, H, W or N, C, H, W, such as HWN, got {layout!r}",
            remedy="layout",
        )
    return values.transpose([letters.index(letter) for letter in order])


def _check_plausible(shape: tuple[int, ...], name: str) -> None:
    if len(shape) != 3:
        return
    first, height, width = shape
    sides = sorted((height, width))
    stacked_last = first == height != width
    if stacked_last or sides[1] > _MOST_ASPECT * sides[0] > 0:
        raise InputError(
            f"{name}: {list(shape)} may be {first} images of {height}x{width}, or {width} images "
            f"of {first}x{height} as MATLAB stores them: expected a layout, NHW for the first or "
            f"HWN for the second",
            remedy="layout",
        )
