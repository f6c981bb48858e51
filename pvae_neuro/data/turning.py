"""Turning and shifting of image planes, with zeros from outside."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from pvae_neuro.data.arrays import Float32
from pvae_neuro.errors import EngineUnavailableError, InputError


def rotate_planes(planes: Float32, degrees: float, low: float, high: float) -> Float32:
    """Turn planes about their centre, by linear interpolation.

    Parameters
    ----------
    planes : ndarray of float32, [N, C, H, W]
    degrees : float
        Counter-clockwise.
    low, high : float
        The result is clipped to this range, which zeros from outside need not lie in.

    Returns
    -------
    ndarray of float32, [N, C, H, W]

    Raises
    ------
    InputError
        If the angle is not finite.
    EngineUnavailableError
        If SciPy is not installed.
    """
    if not math.isfinite(degrees):
        raise InputError(f"degrees: expected a finite angle, got {degrees}")
    angle = math.fmod(degrees, 360.0)
    if angle == 0.0:
        return planes.copy()
    turned = _ndimage().rotate(planes, angle, axes=(3, 2), reshape=False, order=1, cval=0.0)
    return np.clip(turned, np.float32(low), np.float32(high)).astype(np.float32, copy=False)


def shift_planes(
    planes: Float32, shifts: npt.NDArray[np.int64], low: float, high: float
) -> Float32:
    """Shift each image by its own whole number of pixels.

    Parameters
    ----------
    planes : ndarray of float32, [N, C, H, W]
    shifts : ndarray of int64, [N, 2]
        Down and to the right, in pixels.
    low, high : float
        The result is clipped to this range, which zeros from outside need not lie in.

    Returns
    -------
    ndarray of float32, [N, C, H, W]
    """
    count, _, height, width = planes.shape
    rows, inside_rows = _sources(shifts[:, 0], height)
    columns, inside_columns = _sources(shifts[:, 1], width)
    image = np.arange(count)[:, None, None]
    # Advanced indices beside a slice come first: [N, H, W, C].
    moved = planes[image, :, rows[:, :, None], columns[:, None, :]].transpose(0, 3, 1, 2)
    inside = inside_rows[:, None, :, None] & inside_columns[:, None, None, :]
    return np.clip(np.where(inside, moved, np.float32(0)), np.float32(low), np.float32(high))


def _sources(
    shift: npt.NDArray[np.int64], length: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Where each place of a shifted axis comes from, and whether that is inside."""
    source = np.arange(length) - shift[:, None]
    inside = (source >= 0) & (source < length)
    return np.clip(source, 0, length - 1), inside


def _ndimage() -> Any:
    try:
        return import_module("scipy.ndimage")
    except ImportError as error:
        raise EngineUnavailableError(
            "turning images needs SciPy: pip install 'pvae-neuro[train]'"
        ) from error
