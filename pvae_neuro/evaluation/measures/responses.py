"""Measures of the responses of a neuron, as physiology defines them: tuning, contrast, latency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.utils.optional import require

Float64 = NDArray[np.float64]


def circular_variance(responses: NDArray[np.floating[Any]], degrees: Float64) -> Float64:
    """Circular variance of orientation tuning (Ringach, Shapley, Hawken 2002).

    ``1 - |Σ r exp(2 i θ)| / Σ r``, doi:10.1523/JNEUROSCI.22-13-05639.2002: 0 where one orientation
    alone drives the neuron, 1 where all do alike, NaN where nothing responds.

    ``responses`` [n, A] are not negative; ``degrees`` [A] are even over 180 or 360 degrees.
    """
    phasor = np.exp(2j * np.radians(degrees))
    total = responses.sum(axis=1, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance: Float64 = 1.0 - np.abs(responses @ phasor) / total
    return np.where(total > 0, variance, np.nan)


def half_width(responses: NDArray[np.floating[Any]], degrees: Float64) -> float:
    """Half the width of a tuning curve [A] at half of its height, in degrees.

    The curve is periodic over 180 degrees and linear between the orientations, which are rising and
    even. The result is 90 where the curve never falls to half on either side, NaN where it has no
    height.
    """
    peak = int(np.argmax(responses))
    height = float(responses[peak])
    if height <= 0:
        return float("nan")
    spacing = 180.0 / len(degrees)
    right = np.roll(np.asarray(responses, np.float64), -peak) / height
    left = np.roll(right[::-1], 1)
    found = [width for width in map(_samples_to_half, (right, left)) if width is not None]
    return min(90.0, spacing * float(np.mean(found))) if found else 90.0


def _samples_to_half(curve: Float64) -> float | None:
    """Samples, with a fraction, after which a curve that starts at 1 falls to a half."""
    below = np.flatnonzero(curve < 0.5)
    if not len(below):
        return None
    after = int(below[0])
    before = float(curve[after - 1])
    return after - 1 + (before - 0.5) / (before - float(curve[after]))


@dataclass(frozen=True)
class ContrastResponse:
    """Fit of ``R(c) = base + gain c^n / (c^n + c50^n)`` (Naka, Rushton 1966)."""

    base: float
    gain: float

    exponent: float
    """n."""

    half_contrast: float
    """c50."""

    explained: float
    """Fraction of the variance over contrasts."""

    def at(self, contrast: NDArray[np.floating[Any]]) -> Float64:
        """Response to contrasts."""
        values = np.array([self.base, self.gain, self.exponent, np.log(self.half_contrast)])
        return _naka_rushton(values, np.asarray(contrast, np.float64))


def fit_contrast_response(
    contrasts: Float64, responses: NDArray[np.floating[Any]]
) -> ContrastResponse:
    """Fit the Naka-Rushton function to responses at four or more contrasts by least squares."""
    if contrasts.shape != responses.shape or contrasts.ndim != 1 or len(contrasts) < 4:
        raise InputError(
            f"contrast response: expected one response for each of at least 4 contrasts, got "
            f"{list(responses.shape)} for {list(contrasts.shape)}"
        )
    scale = max(float(np.ptp(responses)), 1e-12)
    target = np.asarray(responses, np.float64) / scale
    start = np.array([target.min(), 1.0, 2.0, np.log(0.3)])
    low, high = np.array([-0.5, 0.0, 0.3, np.log(0.01)]), np.array([np.inf, 5.0, 10.0, np.log(3.0)])

    def residual(values: Float64) -> Float64:
        return _naka_rushton(values, contrasts) - target

    optimize = require("scipy.optimize", "train", "fits")
    solution = optimize.least_squares(residual, start, bounds=(low - 1e-9, high))
    base, gain, exponent, log_half = (float(v) for v in solution.x)
    variance = float(((target - target.mean()) ** 2).sum())
    explained = 1.0 - 2.0 * float(solution.cost) / variance if variance > 0 else 0.0
    return ContrastResponse(
        base * scale, gain * scale, exponent, float(np.exp(log_half)), explained
    )


def _naka_rushton(values: Float64, contrasts: Float64) -> Float64:
    base, gain, exponent, log_half = values
    raised = contrasts**exponent
    curve: Float64 = base + gain * raised / (raised + np.exp(exponent * log_half))
    return curve


def time_to_half(course: NDArray[np.floating[Any]], base: float) -> float:
    """Iterations from the onset until a response first reaches half of its largest rise.

    ``course`` [T] is the response after each iteration, ``base`` the one before the onset. Linear
    between iterations; NaN where nothing rises.
    """
    rise = np.concatenate([[0.0], np.asarray(course, np.float64) - base])
    largest = float(rise.max())
    if largest <= 0:
        return float("nan")
    after = int(np.flatnonzero(rise >= largest / 2)[0])
    step = rise[after] - rise[after - 1]
    return float(after - 1 + (largest / 2 - rise[after - 1]) / step)
