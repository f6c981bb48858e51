"""Two-dimensional Gabor functions fitted to receptive fields or dictionary elements.

    g(r, c) = exp(-½ (s'² / a² + t'² / b²)) (α cos(2π f s') + β sin(2π f s'))
    s' = (c - c0) cos(θ) - (r - r0) sin(θ),   t' = (c - c0) sin(θ) + (r - r0) cos(θ)

Rows r and columns c are counted from the centre of the image, in pixels. The wave runs along the
angle θ, counter-clockwise, as in :class:`~pvae_neuro.data.feeders.DriftingGrating`: the bars are
perpendicular to it. The two amplitudes enter linearly, so each step solves for them and least
squares adjusts only the other six parameters (variable projection; Golub, Pereyra 1973). Fits of
this form to cells of the visual cortex: Jones, Palmer 1987, doi:10.1152/jn.1987.58.6.1233.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.utils.optional import require
from pvae_neuro.utils.progress import Advance, no_advance

Float64 = NDArray[np.float64]

NARROWEST = 0.6
"""Smallest standard deviation of an envelope, in pixels; narrower ones would fit single pixels."""

LOWEST_FREQUENCY, HIGHEST_FREQUENCY = 0.04, 0.5
"""Cycles per pixel. A single edge is fitted best at the lowest, by one slope of the wave."""

_PADDING = 4
_EVALUATIONS = 60


@dataclass(frozen=True)
class Gabor:
    """One fit."""

    row: float
    column: float
    """Centre of the envelope, pixels from the centre of the image, down and to the right."""

    along: float
    across: float
    """Standard deviations of the envelope along the wave and along the bars, in pixels."""

    orientation: float
    """Of the wave, degrees in [0, 180), counter-clockwise; the bars are perpendicular to it."""

    frequency: float
    """In cycles per pixel."""

    cosine: float
    sine: float
    """α and β, in units of the element."""

    explained: float
    """Fraction of the element's variance that the fit explains, at most 1."""

    @property
    def bandwidth(self) -> float:
        """Spatial-frequency bandwidth, octaves at half height; infinite for less than one lobe."""
        half = math.sqrt(2.0 * math.log(2.0)) / (2.0 * math.pi * self.along)
        if self.frequency <= half:
            return math.inf
        return math.log2((self.frequency + half) / (self.frequency - half))

    def image(self, shape: tuple[int, int]) -> Float64:
        """The function itself, [H, W]."""
        angle = math.radians(self.orientation)
        values = (self.row, self.column, self.along, self.across, angle, self.frequency)
        waves = _waves(np.array(values), _grid(shape))
        return (waves @ np.array([self.cosine, self.sine])).reshape(shape)


def fit_gabor(element: NDArray[np.floating[Any]]) -> Gabor:
    """Fit a Gabor function to an image of at least 4 x 4 finite values by least squares.

    The fit starts from the peak of the spectrum, once with an envelope as wide as the element's
    energy and once with half that, and the better one is returned. ``explained`` is 0 for an
    element without variance.
    """
    image = np.asarray(element, dtype=np.float64)
    if image.ndim != 2 or min(image.shape) < 4 or not np.isfinite(image).all():
        raise InputError(
            f"element: expected an image of at least 4x4 finite values, got {list(image.shape)}"
        )
    scale = float(np.abs(image - image.mean()).max())
    if scale <= 1e-12:
        return Gabor(0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    fits = [_refine(image / scale, start) for start in _starts(image / scale)]
    values = min(fits, key=lambda fit: fit[1])[0]
    return _as_gabor(values, image, scale)


def fit_gabors(
    elements: NDArray[np.floating[Any]], shape: tuple[int, int], advance: Advance = no_advance
) -> list[Gabor]:
    """Fit one Gabor function to each element [K, M] of an image shape (H, W)."""
    found = []
    for element in elements:
        found.append(fit_gabor(element.reshape(shape)))
        advance(1)
    return found


def _grid(shape: tuple[int, int]) -> tuple[Float64, Float64]:
    row, column = (np.arange(length) - (length - 1) / 2.0 for length in shape)
    rows, columns = np.meshgrid(row, column, indexing="ij")
    return rows.ravel(), columns.ravel()


def _waves(values: Float64, grid: tuple[Float64, Float64]) -> Float64:
    """Cosine and sine under their envelope, [M, 2]."""
    row, column, along, across, angle, frequency = values
    down, right = grid[0] - row, grid[1] - column
    s = right * math.cos(angle) - down * math.sin(angle)
    t = right * math.sin(angle) + down * math.cos(angle)
    envelope = np.exp(-0.5 * ((s / along) ** 2 + (t / across) ** 2))
    turn = 2.0 * math.pi * frequency * s
    return np.stack([envelope * np.cos(turn), envelope * np.sin(turn)], axis=1)


def _amplitudes(waves: Float64, target: Float64) -> Float64:
    # The small ridge keeps the system solvable at frequency 0, where the sine vanishes.
    normal = waves.T @ waves + 1e-9 * np.eye(2)
    solved: Float64 = np.linalg.solve(normal, waves.T @ target)
    return solved


def _starts(image: Float64) -> list[Float64]:
    """First guesses: position and width from the energy, wave from the spectrum."""
    rows, columns = _grid((image.shape[0], image.shape[1]))
    # Squaring the energy keeps distant noise from widening the envelope.
    weight = (image.ravel() ** 2) ** 2
    weight /= weight.sum()
    row, column = float(weight @ rows), float(weight @ columns)
    spread = float(weight @ ((rows - row) ** 2 + (columns - column) ** 2))
    width = max(math.sqrt(2.0 * spread), 1.2)
    angle, frequency = _spectral_peak(image)
    return [np.array([row, column, w, w, angle, frequency]) for w in (width, max(width / 2, 1.0))]


def _spectral_peak(image: Float64) -> tuple[float, float]:
    """Angle in radians and frequency in cycles per pixel of the strongest wave."""
    padded = [_PADDING * length for length in image.shape]
    power = np.abs(np.fft.fft2(image - image.mean(), padded)) ** 2
    peak = np.unravel_index(int(power.argmax()), power.shape)
    down, right = (np.fft.fftfreq(n)[i] for n, i in zip(padded, peak, strict=True))
    return math.atan2(-down, right), float(np.clip(np.hypot(down, right), 0.05, 0.48))


def _refine(image: Float64, start: Float64) -> tuple[Float64, float]:
    """Least squares from one start: parameters, and half the remaining squared error."""
    height, width = image.shape
    grid, target, size = _grid((height, width)), image.ravel(), float(max(image.shape))

    def residual(values: Float64) -> Float64:
        waves = _waves(values, grid)
        return waves @ _amplitudes(waves, target) - target

    reach_down, reach_right = height / 2 + 1, width / 2 + 1
    low = np.array(
        [-reach_down, -reach_right, NARROWEST, NARROWEST, -4 * math.pi, LOWEST_FREQUENCY]
    )
    high = np.array([reach_down, reach_right, size, size, 4 * math.pi, HIGHEST_FREQUENCY])
    inside = np.clip(start, low + 1e-3, high - 1e-3)
    optimize = require("scipy.optimize", "train", "fits")
    found = optimize.least_squares(
        residual, inside, bounds=(low, high), x_scale=[1, 1, 1, 1, 0.2, 0.03],
        max_nfev=_EVALUATIONS, ftol=1e-5, xtol=1e-5, gtol=1e-6,
    )  # fmt: skip
    return found.x, float(found.cost)


def _as_gabor(values: Float64, image: Float64, scale: float) -> Gabor:
    waves = _waves(values, _grid((image.shape[0], image.shape[1])))
    cosine, sine = _amplitudes(waves, image.ravel() / scale) * scale
    row, column, along, across, angle, frequency = (float(v) for v in values)
    residual = image.ravel() - waves @ np.array([cosine, sine])
    explained = 1.0 - float(residual @ residual) / float(((image - image.mean()) ** 2).sum())
    orientation = math.degrees(angle) % 180.0
    # Turning the wave by 180° changes only the sign of its sine.
    turned = math.cos(angle - math.radians(orientation)) < 0
    return Gabor(
        row, column, along, across, orientation, frequency,
        float(cosine), float(-sine if turned else sine), explained,
    )  # fmt: skip
