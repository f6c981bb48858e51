"""Gaussian pixels with a learned variance each, and the linear decoder that predicts them."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pvae_neuro.models.base import Model
from pvae_neuro.saved.model_file import LOG_SIGMA_BOUND, ModelConfig

_LOG_2PI = math.log(2.0 * math.pi)
_DICTIONARY_SCALE = 1e-4


class Drive(NamedTuple):
    """What a window of steps on one batch needs of the decoder, computed once.

    Attributes
    ----------
    feedforward : Tensor
        ``x Σ⁻¹ Φ``, [B, K].
    lateral : Tensor
        ``Φᵀ Σ⁻¹ Φ``, [K, K], symmetric.
    constant : Tensor
        The part of the negative log-likelihood that no spike changes, in nats, [B].
    """

    feedforward: Tensor
    lateral: Tensor
    constant: Tensor


class GaussianPixels(Model):
    """Base of families whose pixels are normal about the reconstruction (arXiv 2410.19315).

    Parameters
    ----------
    config : ModelConfig
    generator : torch.Generator, optional
    init_scale : float, optional

    Attributes
    ----------
    log_sigma : Parameter
        Log standard deviation per pixel before its squashing, [M].
    """

    def __init__(
        self,
        config: ModelConfig,
        generator: torch.Generator | None = None,
        init_scale: float | None = None,
    ) -> None:
        super().__init__(config, generator, init_scale)
        self.log_sigma = nn.Parameter(torch.zeros(config.pixels))

    @property
    def precision(self) -> Tensor:
        """Inverse variance per pixel, [M]."""
        return torch.exp(-2.0 * self._squashed_log_sigma())

    def _squashed_log_sigma(self) -> Tensor:
        return LOG_SIGMA_BOUND * torch.tanh(self.log_sigma / LOG_SIGMA_BOUND)

    def nll(self, x: Tensor, reconstruction: Tensor) -> Tensor:
        """Gaussian negative log-likelihood with the learned variance per pixel.

        Parameters
        ----------
        x, reconstruction : Tensor
            [B, M].

        Returns
        -------
        Tensor
            Nats summed over pixels, log 2π included, [B].
        """
        return 0.5 * ((x - reconstruction) ** 2 @ self.precision) + self.log_normalizer()

    def log_normalizer(self) -> Tensor:
        """The part of :meth:`nll` that depends on the variances alone, nats, []."""
        return self._squashed_log_sigma().sum() + 0.5 * self.config.pixels * _LOG_2PI


class LinearPixels(GaussianPixels):
    """Base of families that decode by ``x = Φ z``.

    Parameters
    ----------
    config : ModelConfig
    generator : torch.Generator, optional
        Source of the initial dictionary.
    init_scale : float, optional
        Standard deviation of its entries; 1e-4 as in the released models if not given.

    Attributes
    ----------
    dictionary : Parameter
        Φ, [M, K].
    """

    def __init__(
        self,
        config: ModelConfig,
        generator: torch.Generator | None = None,
        init_scale: float | None = None,
    ) -> None:
        super().__init__(config, generator, init_scale)
        normal = torch.randn(config.pixels, config.latents, generator=generator)
        self.dictionary = nn.Parameter((init_scale or _DICTIONARY_SCALE) * normal)

    def decode(self, z: Tensor) -> Tensor:
        """Latents [B, K] to pixels [B, M]."""
        return z @ self.dictionary.T

    def drive(self, x: Tensor) -> Drive:
        """Project a batch [B, M] into the space of the latents; see :mod:`.window`."""
        precision = self.precision
        weighted = precision.unsqueeze(1) * self.dictionary
        constant = 0.5 * (x**2 @ precision) + self.log_normalizer()
        return Drive(x @ weighted, self.dictionary.T @ weighted, constant)

    def pull_back(self, x: Tensor, z: Tensor) -> Tensor:
        """``Φᵀ Σ⁻¹ (x - Φ z)``: what the error says of each latent, [B, K]."""
        return ((x - self.decode(z)) * self.precision) @ self.dictionary

    def learning_rate_shares(self, dictionary_rate: float) -> dict[str, float]:
        """The dictionary learns at a rate of its own; see :class:`TrainConfig`."""
        return {"dictionary": dictionary_rate}
