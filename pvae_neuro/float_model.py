"""The float model in NumPy, driven by the same random words as the integer engines.

This is the yardstick for quantization: the update of the trained model (papers: iP-VAE, eq. 7, with
the released code's clamps) in float32, with each count drawn by inverting the Poisson distribution
function at the uniform number ``(word + 1/2) / 2**16``. Common random words leave only the effect
of the integers. :class:`pvae_neuro.models.poisson.ipvae.IPVAE` is the same update in PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.count_table import WORDS
from pvae_neuro.errors import ModelFileError
from pvae_neuro.saved.model_file import SavedModel

Floats = NDArray[np.float32]
# Up to here probabilities are added up one by one; exp(-rate) is far from underflow.
LARGE_RATE = 200.0


class FloatModel:
    """Linear-decoder iP-VAE in float32.

    ``u <- S(u + S(eta (Phi^T Sigma^-1 (x - Phi z) - b), clamp_du), clamp_u)`` with
    ``S(v, c) = c - softplus(c - max(v, floor))``.

    Parameters
    ----------
    model : SavedModel

    Raises
    ------
    ModelFileError
        If the model is no linear iP-VAE, or takes more than one inner update per step.
    """

    def __init__(self, model: SavedModel) -> None:
        model.require_linear("float model")
        if model.config.inner_updates != 1:
            raise ModelFileError(
                f"float model: expected 1 inner update per step, got {model.config.inner_updates}; "
                f"only models with one update per step can be quantized"
            )
        self.config = model.config
        self.dictionary = model.dictionary
        weighted = model.step_size * model.dictionary.T.astype(np.float64) / model.variance
        self.feedback = weighted.astype(np.float32)
        self.leak = (model.step_size * model.leak).astype(np.float32)
        self.initial = model.initial_potential

    def error_drive(self, error: Floats) -> Floats:
        """Push of an input error on the potential, ``eta Phi^T Sigma^-1 e``: [B, M] -> [B, K]."""
        return error @ self.feedback.T

    def update(self, u: Floats, z: Floats, images: Floats) -> Floats:
        """Potential after one update.

        Parameters
        ----------
        u, z : float32 [B, K]
            Potential (log-rate) and counts drawn from it.
        images : float32 [B, M]

        Returns
        -------
        float32 [B, K]
        """
        error = images - z @ self.dictionary.T
        du = self._clamp(self.error_drive(error) - self.leak, self.config.clamp_du)
        return self._clamp(u + du, self.config.clamp_u)

    def _clamp(self, value: Floats, bound: float) -> Floats:
        if self.config.clamp == "hard":
            return np.clip(value, np.float32(self.config.floor_u), np.float32(bound))
        return soft_clamp(value, bound, self.config.floor_u)

    def iterate(self, images: Floats, words: NDArray[np.uint16]) -> Iterator[tuple[Floats, Floats]]:
        """Yield (counts, potential after the update) for each step of noise.

        Parameters
        ----------
        images : float32 [B, M]
        words : uint16 [B, steps, K]
        """
        u = np.tile(self.initial, (len(images), 1))
        for step in range(words.shape[1]):
            z = poisson_counts(u, words[:, step])
            u = self.update(u, z, images)
            yield z, u


def soft_clamp(value: Floats, bound: float, floor: float) -> Floats:
    """Smooth upper bound of the released code: ``c - softplus(c - max(v, floor))``."""
    floored = np.maximum(value, np.float32(floor))
    # softplus(c - v) = (c - v) + log1p(exp(v - c)), written so that exp cannot overflow.
    gap = floored - np.float32(bound)
    below = np.minimum(gap, 0.0)
    clamped: Floats = np.where(
        gap <= 0.0, floored - np.log1p(np.exp(below)), np.float32(bound) - _softplus(-gap)
    )
    return clamped.astype(np.float32, copy=False)


def _softplus(value: Floats) -> Floats:
    return np.log1p(np.exp(np.minimum(value, 0.0))).astype(np.float32, copy=False)


def poisson_counts(u: Floats, word: NDArray[np.uint16]) -> Floats:
    """Poisson counts by inverting the distribution function at ``(word + 1/2) / 2**16``.

    Above a rate of ``LARGE_RATE`` the inverse is the Cornish-Fisher expansion, within one count of
    the exact one; such rates are far beyond any count that an integer network holds.

    Parameters
    ----------
    u : float32 [...]
        Log-rate.
    word : uint16 [...]

    Returns
    -------
    float32 [...]
    """
    rate = np.exp(u.astype(np.float64)).ravel()
    words = word.ravel()
    counts = np.zeros(rate.shape, np.float32)
    uniform = (words.astype(np.float64) + 0.5) / WORDS
    active = np.flatnonzero((uniform > np.exp(-rate)) & (rate <= LARGE_RATE))
    counts[active] = _invert(rate[active], uniform[active])
    large = np.flatnonzero(rate > LARGE_RATE)
    if len(large):
        quantile = _normal_quantiles()[words[large]]
        spread = np.sqrt(rate[large]) * quantile + (quantile**2 - 1) / 6
        counts[large] = np.rint(rate[large] + spread)
    return counts.reshape(u.shape)


def _invert(rate: NDArray[np.float64], uniform: NDArray[np.float64]) -> Floats:
    """Counts of neurons known to fire, by adding up the probabilities of 1, 2, ..."""
    counts = np.zeros(rate.shape, np.float32)
    place = np.arange(len(rate))
    mass = np.exp(-rate)
    cumulative = mass
    k = 0
    while len(place):
        k += 1
        counts[place] = k
        mass = mass * rate / k
        cumulative = cumulative + mass
        more = uniform > cumulative
        # Rounding may leave the sum short of a uniform number next to one.
        more &= (k < rate) | (mass > 1e-12)
        place, rate, uniform = place[more], rate[more], uniform[more]
        mass, cumulative = mass[more], cumulative[more]
    return counts


@lru_cache(maxsize=1)
def _normal_quantiles() -> NDArray[np.float64]:
    """Standard normal quantile at the uniform number of every word."""
    normal = NormalDist()
    return np.array([normal.inv_cdf((word + 0.5) / WORDS) for word in range(WORDS)])
