"""Drifting sinusoidal gratings, the stimulus of tuning curves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from pvae_neuro.data.arrays import Float32, check_size
from pvae_neuro.data.feeders import FrameSource, check_number
from pvae_neuro.errors import InputError


class DriftingGrating(FrameSource):
    """Sinusoidal gratings that drift, one or a batch of them.

    Frame t at the pixel (row r, column c), counted from the centre:

        mean + contrast * amplitude * cos(2 pi (f s - w t) + phase)
        s = c cos(orientation) - r sin(orientation)

    so that for a positive temporal frequency w the grating moves along its orientation axis, to
    the right at 0 degrees and upwards at 90. Options marked "or [B]" broadcast against each other;
    their common length is the batch.

    Parameters
    ----------
    size : int or (int, int)
        (H, W) in pixels.
    orientation : float or [B]
        Direction of drift in degrees, counter-clockwise; the bars are perpendicular to it.
    spatial_frequency : float or [B]
        f, in cycles per pixel, from 0 to 0.5 (Nyquist).
    temporal_frequency : float or [B]
        w, in cycles per frame.
    contrast : float or [B]
        From 0 to 1 (Michelson, where low is 0).
    phase : float or [B]
        In degrees.
    low, high : float
        Declared range. The mean is its middle: 0 for the symmetric range of whitened patches.
    amplitude : float, optional
        Of contrast 1; by default, and at most, half the range.
    zero_mean : bool
        Take the spatial mean off every frame, which a window of few cycles has, as whitening takes
        it off patches. What would leave the amplitude after that is scaled down, by one factor for
        all frames of a grating.
    frames, steps_per_frame : int

    Raises
    ------
    InputError
        If a number is out of its range, or the options do not broadcast.
    """

    def __init__(
        self,
        size: int | tuple[int, int] = 16,
        *,
        orientation: npt.ArrayLike = 0.0,
        spatial_frequency: npt.ArrayLike = 0.125,
        temporal_frequency: npt.ArrayLike = 0.0625,
        contrast: npt.ArrayLike = 1.0,
        phase: npt.ArrayLike = 0.0,
        low: float = -1.0,
        high: float = 1.0,
        amplitude: float | None = None,
        zero_mean: bool = False,
        frames: int = 100,
        steps_per_frame: int = 1,
    ) -> None:
        shape = check_size(size)
        super().__init__(frames, steps_per_frame, shape, low, high, "drifting gratings")
        height = _check_amplitude(amplitude, low, high)
        given = {
            "orientation": orientation, "spatial_frequency": spatial_frequency,
            "temporal_frequency": temporal_frequency, "contrast": contrast, "phase": phase,
        }  # fmt: skip
        columns = _broadcast(given)
        _check_within(columns["spatial_frequency"], 0.0, 0.5, "spatial_frequency")
        _check_within(columns["contrast"], 0.0, 1.0, "contrast")
        self._mean = (self.low + self.high) / 2.0
        self._cycles_per_frame = columns["temporal_frequency"]
        even, odd = _quadrature(shape, columns)
        if zero_mean:
            even, odd = _without_mean(even, odd)
        scale = height * columns["contrast"][:, None]
        self._even, self._odd = scale * even, scale * odd

    def _make(self, t: int) -> Float32:
        # cos(a - wt) = cos(a) cos(wt) + sin(a) sin(wt): two images make all frames.
        turn = 2.0 * math.pi * self._cycles_per_frame[:, None] * t
        frame = self._mean + self._even * np.cos(turn) + self._odd * np.sin(turn)
        return np.clip(frame, self.low, self.high).astype(np.float32)


def _check_amplitude(amplitude: float | None, low: float, high: float) -> float:
    if not check_number(low, "low") < check_number(high, "high"):
        raise InputError(f"low, high: expected low below high, got [{low}, {high}]")
    half = (high - low) / 2.0
    if amplitude is None:
        return half
    if not 0.0 < check_number(amplitude, "amplitude") <= half:
        raise InputError(
            f"amplitude: expected more than 0 and at most {half:g}, half of [{low:g}, {high:g}], "
            f"got {amplitude}"
        )
    return float(amplitude)


def _broadcast(given: dict[str, npt.ArrayLike]) -> dict[str, npt.NDArray[np.float64]]:
    """Each option as float64 [B]."""
    try:
        arrays = [np.asarray(value, dtype=np.float64) for value in given.values()]
        wide: list[Any] = np.broadcast_arrays(*arrays, np.zeros(1))[:-1]
    except (ValueError, TypeError) as error:
        raise InputError(
            f"gratings: expected one number each, or lists of one length, for "
            f"{', '.join(given)} ({error})"
        ) from error
    for name, value in zip(given, wide, strict=True):
        if value.ndim != 1 or value.size == 0 or not np.isfinite(value).all():
            raise InputError(f"{name}: expected finite numbers, one or [B], got {given[name]!r}")
    return dict(zip(given, wide, strict=True))


def _check_within(values: npt.NDArray[np.float64], low: float, high: float, name: str) -> None:
    if values.min() < low or values.max() > high:
        raise InputError(
            f"{name}: expected values in [{low:g}, {high:g}], got [{values.min():g}, "
            f"{values.max():g}]"
        )


Pair = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def _quadrature(shape: tuple[int, int], columns: dict[str, npt.NDArray[np.float64]]) -> Pair:
    """Cosine and sine of each grating at frame 0, [B, M] each."""
    row, column = (np.arange(length) - (length - 1) / 2.0 for length in shape)
    angle = np.radians(columns["orientation"])[:, None, None]
    along = column[None, None, :] * np.cos(angle) - row[None, :, None] * np.sin(angle)
    frequency = columns["spatial_frequency"][:, None, None]
    phase = np.radians(columns["phase"])[:, None, None]
    argument = (2.0 * math.pi * frequency * along + phase).reshape(len(angle), -1)
    return np.cos(argument), np.sin(argument)


def _without_mean(even: npt.NDArray[np.float64], odd: npt.NDArray[np.float64]) -> Pair:
    even = even - even.mean(axis=1, keepdims=True)
    odd = odd - odd.mean(axis=1, keepdims=True)
    # The largest value that any frame can reach at any pixel.
    peak = np.maximum(np.hypot(even, odd).max(axis=1, keepdims=True), 1.0)
    return even / peak, odd / peak
