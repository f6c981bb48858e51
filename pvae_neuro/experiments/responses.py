"""Measures of a neuron's responses, as physiology has them: selectivity, contrast, latency."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import EngineUnavailableError, InputError

Float64 = NDArray[np.float64]


def circular_variance(responses: NDArray[np.floating[Any]], degrees: Float64) -> Float64:
    """Circular variance of orientation tuning (Ringach, Shapley, Hawken 2002).

    ``1 - |Σ r exp(2 i θ)| / Σ r``, doi:10.1523/JNEUROSCI.22-13-05639.2002: 0 where one orientation
    alone drives the neuron, 1 where all do alike.

    Parameters
    ----------
    responses : float [n, A]
        Not negative; one row a neuron, one column an orientation.
    degrees : float64 [A]
        Orientations, evenly over 180 or 360 degrees.

    Returns
    -------
    float64 [n]
        NaN where nothing responds.
    """
    turn = np.exp(2j * np.radians(degrees))
    total = responses.sum(axis=1, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance: Float64 = 1.0 - np.abs(responses @ turn) / total
    return np.where(total > 0, variance, np.nan)


def half_width(responses: NDArray[np.floating[Any]], degrees: Float64) -> float:
    """Half the width of a tuning curve at half of its height, in degrees.

    Parameters
    ----------
    responses : float [A]
        Above the response to nothing.
    degrees : float64 [A]
        Orientations, rising, evenly over 180 degrees; the curve is periodic and is read by straight
        lines between them.

    Returns
    -------
    float
        90 where the curve never falls to half on either side; NaN where it has no height.
    """
    peak = int(np.argmax(responses))
    height = float(responses[peak])
    if height <= 0:
        return float("nan")
    spacing = 180.0 / len(degrees)
    turned = np.roll(np.asarray(responses, np.float64), -peak) / height
    sides = (turned, np.roll(turned[::-1], 1))
    found = [place for place in map(_first_below, sides) if place is not None]
    return min(90.0, spacing * float(np.mean(found))) if found else 90.0


def _first_below(curve: Float64) -> float | None:
    """Place, in samples and parts of them, where a curve that begins at 1 falls to a half."""
    below = np.flatnonzero(curve < 0.5)
    if not len(below):
        return None
    after = int(below[0])
    before = float(curve[after - 1])
    return after - 1 + (before - 0.5) / (before - float(curve[after]))


@dataclass(frozen=True)
class ContrastResponse:
    """Fit of ``R(c) = base + gain c^n / (c^n + c50^n)`` (Naka, Rushton 1966).

    Attributes
    ----------
    base, gain : float
        In units of the response.
    exponent : float
        n.
    half_contrast : float
        c50, in units of the contrast.
    explained : float
        Share of the variance over contrasts.
    """

    base: float
    gain: float
    exponent: float
    half_contrast: float
    explained: float

    def at(self, contrast: NDArray[np.floating[Any]]) -> Float64:
        """Response to contrasts."""
        values = np.array([self.base, self.gain, self.exponent, np.log(self.half_contrast)])
        return _naka_rushton(values, np.asarray(contrast, np.float64))


def fit_contrast_response(
    contrasts: Float64, responses: NDArray[np.floating[Any]]
) -> ContrastResponse:
    """Fit the Naka-Rushton function by least squares.

    Parameters
    ----------
    contrasts : float64 [C]
        From 0 to 1; at least four.
    responses : float [C]

    Returns
    -------
    ContrastResponse

    Raises
    ------
    InputError
        If there are fewer than four contrasts, or not one response for each.
    EngineUnavailableError
        If SciPy is not installed.
    """
    if contrasts.shape != responses.shape or contrasts.ndim != 1 or len(contrasts) < 4:
        raise InputError(
            f"contrast response: expected one response for each of at least 4 contrasts, got "
            f"{list(responses.shape)} for {list(contrasts.shape)}"
        )
    target = np.asarray(responses, np.float64)
    scale = max(float(np.ptp(target)), 1e-12)
    start = np.array([target.min() / scale, 1.0, 2.0, np.log(0.3)])
    low, high = np.array([-0.5, 0.0, 0.3, np.log(0.01)]), np.array([np.inf, 5.0, 10.0, np.log(3.0)])

    def residual(values: Float64) -> Float64:
        return _naka_rushton(values, contrasts) - target / scale

    solution = _optimize().least_squares(residual, start, bounds=(low - 1e-9, high))
    base, gain, exponent, log_half = (float(v) for v in solution.x)
    variance = float(((target / scale - (target / scale).mean()) ** 2).sum())
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
    """When a response first reaches half of its largest rise.

    Parameters
    ----------
    course : float [T]
        Response after each iteration from the onset on, the first after one.
    base : float
        Response before the onset.

    Returns
    -------
    float
        Iterations since the onset, by straight lines; NaN where nothing rises.
    """
    rise = np.concatenate([[0.0], np.asarray(course, np.float64) - base])
    largest = float(rise.max())
    if largest <= 0:
        return float("nan")
    after = int(np.flatnonzero(rise >= largest / 2)[0])
    step = rise[after] - rise[after - 1]
    return float(after - 1 + (largest / 2 - rise[after - 1]) / step)


def _optimize() -> Any:
    try:
        return import_module("scipy.optimize")
    except ImportError as error:
        raise EngineUnavailableError("fits need SciPy: pip install 'pvae-neuro[train]'") from error
