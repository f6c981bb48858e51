"""The float model in NumPy, driven by the same random words as the integer engines.

This is the yardstick for quantization: the update of the trained model (papers: iP-VAE, eq. 7, with
the released code's clamps) in float32, with each count drawn by inverting the Poisson distribution
function at the uniform number ``(word + 1/2) / 2**16``. Common random words leave only the effect
of the integers. :class:`pvae_neuro.models.ipvae.IPVAE` is the same update in PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.checkpoints import SavedModel
from pvae_neuro.count_table import WORDS
from pvae_neuro.errors import ModelFileError

Floats = NDArray[np.float32]
# The rate exp(10) of the upper clamp is never meant literally; counts stop here.
MAX_FLOAT_COUNT = 30_000


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
        If the model takes more than one inner update per step.
    """

    def __init__(self, model: SavedModel) -> None:
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
        du = soft_clamp(
            self.error_drive(error) - self.leak, self.config.clamp_du, self.config.floor_u
        )
        return soft_clamp(u + du, self.config.clamp_u, self.config.floor_u)

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

    Parameters
    ----------
    u : float32 [...]
        Log-rate.
    word : uint16 [...]

    Returns
    -------
    float32 [...]
    """
    shape = u.shape
    rate = np.exp(u.astype(np.float64)).ravel()
    uniform = (word.ravel().astype(np.float64) + 0.5) / WORDS
    counts = np.zeros(rate.shape, np.float32)
    active = np.flatnonzero(uniform > np.exp(-rate))
    rate, uniform = rate[active], uniform[active]
    k = 0
    log_mass = -rate
    cumulative = np.exp(log_mass)
    while len(active) and k < MAX_FLOAT_COUNT:
        k += 1
        counts[active] = k
        log_mass = log_mass + np.log(rate) - np.log(k)
        cumulative = cumulative + np.exp(log_mass)
        more = (uniform > cumulative) & ((k < rate) | (log_mass > -80.0))
        active, rate, uniform = active[more], rate[more], uniform[more]
        log_mass, cumulative = log_mass[more], cumulative[more]
    return counts.reshape(shape)
