"""Calibration of posteriors: how often the true pixel lies within a band of the posterior.

The place of a pixel in a distribution is its cumulative probability there. If the distribution is
right, places are uniform, and a central band of level p holds the share p of the pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.utils.optional import require

Floats = NDArray[np.floating[Any]]
LEVELS = (0.5, 0.8, 0.9, 0.95)


def places_in_samples(samples: Floats, pixels: Floats, variance: ArrayLike = 0.0) -> Floats:
    """Place of each pixel among samples of its reconstruction, float64 [N, M].

    Parameters
    ----------
    samples : float [S, N, M]
        Reconstructions from S samples of the posterior.
    pixels : float [N, M]
    variance : float [M] or float
        Of the observation; 0 leaves it out. With it, the distribution is the mixture of S normal
        ones; without, a pixel that equals samples stands in the middle of them.

    Raises
    ------
    InputError
        If shapes do not fit, there are no samples, or a variance is negative.
    """
    if samples.ndim != 3 or not len(samples) or samples.shape[1:] != pixels.shape:
        raise InputError(
            f"samples: expected [S, {', '.join(map(str, pixels.shape))}], one set a pixel, got "
            f"{samples.shape}"
        )
    wide = _variance(variance)
    below = np.zeros(pixels.shape)
    for sample in samples:
        below += _cumulative(pixels.astype(np.float64) - sample, wide)
    # Without noise a pixel has one of S + 1 ranks, of which each gets the middle of its share.
    ranked = (wide == 0).astype(np.float64)
    return np.asarray((below + 0.5 * ranked) / (len(samples) + ranked))


def places_in_normal(mean: Floats, variance: ArrayLike, pixels: Floats) -> Floats:
    """Place of each pixel [N, M] in normal distributions of these means and variances, [N, M].

    Add the variance of the observation to that of the posterior to judge both.
    """
    if mean.shape != pixels.shape:
        raise InputError(
            f"mean: expected the shape of the pixels, {pixels.shape}, got {mean.shape}"
        )
    return np.asarray(_cumulative(pixels.astype(np.float64) - mean, _variance(variance)))


def coverage(places: Floats, levels: tuple[float, ...] = LEVELS) -> dict[float, float]:
    """Share of the pixels within the central band of each level, by level.

    Above its level a band is too wide, below too narrow.

    Raises
    ------
    InputError
        If a level is not between 0 and 1.
    """
    if any(not 0 < level < 1 for level in levels):
        raise InputError(f"levels: expected numbers between 0 and 1, got {levels}")
    distance = np.abs(places - 0.5)
    # A band holds its ends, also where rounding puts a place beyond them.
    return {level: float((distance <= level / 2 + 1e-12).mean()) for level in levels}


def _variance(variance: ArrayLike) -> Floats:
    wide = np.asarray(variance, np.float64)
    if not (wide >= 0).all():
        raise InputError("variance: expected no negative number, got some")
    return wide


def _cumulative(difference: Floats, variance: Floats) -> Floats:
    """Probability below a difference from the mean; one half at a mean without variance."""
    special = require("scipy.special", "train", "calibration")
    spread = np.sqrt(np.broadcast_to(variance, difference.shape))
    step = np.where(difference == 0, 0.0, np.copysign(np.inf, difference))
    found: Floats = special.ndtr(np.divide(difference, spread, out=step, where=spread > 0))
    return found
