"""Gaussian pixels, each with a learned variance, and the linear decoder that predicts them."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pvae_neuro.models.base import Model
from pvae_neuro.models.dynamics import soft_symmetric
from pvae_neuro.saved.model_file import LOG_SIGMA_BOUND

LOG_2PI = math.log(2.0 * math.pi)
_DICTIONARY_SCALE = 1e-4


class Drive(NamedTuple):
    """What a window on one batch needs of the decoder, computed once.

    Attributes
    ----------
    feedforward : Tensor
        ``x Σ⁻¹ Φ``, [B, K].
    lateral : Tensor
        ``Φᵀ Σ⁻¹ Φ``, [K, K], symmetric.
    constant : Tensor
        The part of the negative log-likelihood that no latent changes, in nats, [B].
    """

    feedforward: Tensor
    lateral: Tensor
    constant: Tensor

    def residual(self, z: Tensor) -> Tensor:
        """``g = Φᵀ Σ⁻¹ (x - Φ z)`` of latents z, [B, K]."""
        return self.feedforward - z @ self.lateral

    def explained(self, z: Tensor, residual: Tensor) -> Tensor:
        """How much less than its constant the negative log-likelihood is, nats of the batch, []."""
        return 0.5 * (z * (self.feedforward + residual)).sum()


class GaussianPixels(Model):
    """Base of families whose pixels are normal about the reconstruction (arXiv 2410.19315).

    Attributes
    ----------
    log_sigma : Parameter
        Log standard deviation per pixel before its squashing into ±3.45, [M].
    """

    def build(self, generator: torch.Generator | None, init_scale: float | None) -> None:
        """Create ``log_sigma``."""
        self.log_sigma = nn.Parameter(torch.zeros(self.config.pixels))

    @property
    def precision(self) -> Tensor:
        """Inverse variance per pixel, [M]."""
        return torch.exp(-2.0 * self._squashed_log_sigma())

    @property
    def observation_variance(self) -> Tensor:
        """The learned variance of each pixel, [M]."""
        return torch.exp(2.0 * self._squashed_log_sigma()).detach()

    def _squashed_log_sigma(self) -> Tensor:
        return soft_symmetric(self.log_sigma, LOG_SIGMA_BOUND)

    def nll(self, x: Tensor, reconstruction: Tensor) -> Tensor:
        """Negative log-likelihood of x [B, M], nats summed over pixels, log 2π included, [B]."""
        return 0.5 * ((x - reconstruction) ** 2 @ self.precision) + self.log_normalizer()

    def log_normalizer(self) -> Tensor:
        """The part of :meth:`nll` that depends on the variances alone, nats, []."""
        return self._squashed_log_sigma().sum() + 0.5 * self.config.pixels * LOG_2PI


class LinearPixels(GaussianPixels):
    """Base of families that decode by ``x = Φ z``.

    Attributes
    ----------
    dictionary : Parameter
        Φ, [M, K]; its initial standard deviation is ``init_scale``, or 1e-4 as in the released
        models.
    """

    def build(self, generator: torch.Generator | None, init_scale: float | None) -> None:
        """Create ``log_sigma`` and ``dictionary``."""
        super().build(generator, init_scale)
        normal = torch.randn(self.config.pixels, self.config.latents, generator=generator)
        self.dictionary = nn.Parameter((init_scale or _DICTIONARY_SCALE) * normal)

    def decode(self, z: Tensor) -> Tensor:
        """Reconstruct pixels [B, M] from latents [B, K]."""
        return z @ self.dictionary.T

    def drive(self, x: Tensor) -> Drive:
        """Project a batch x [B, M] into the space of the latents, once for a whole window.

        With ``h`` and ``W`` the feed-forward drive and the lateral weights, ``Φᵀ Σ⁻¹ (x - Φ z)`` is
        ``g = h - W z``, and half the weighted squared error is ``½ xᵀ Σ⁻¹ x - ½ zᵀ (h + g)``:
        the iterations need no pixels.
        """
        precision = self.precision
        weighted = precision.unsqueeze(1) * self.dictionary
        constant = 0.5 * (x**2 @ precision) + self.log_normalizer()
        return Drive(x @ weighted, self.dictionary.T @ weighted, constant)

    def pull_back(self, x: Tensor, z: Tensor) -> Tensor:
        """``Φᵀ Σ⁻¹ (x - Φ z)``, the reconstruction error projected onto each latent, [B, K]."""
        return ((x - z @ self.dictionary.T) * self.precision) @ self.dictionary

    def learning_rate_shares(self, dictionary_rate: float) -> dict[str, float]:
        """The dictionary has a learning rate of its own."""
        return {"dictionary": dictionary_rate}
