"""The Gaussian VAE with an encoder (Kingma, Welling 2014).

The prior is standard normal; samples may be rectified before they are decoded (arXiv 2405.14473).
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from pvae_neuro.models.base import Iteration, State, Window, WindowSettings
from pvae_neuro.models.dynamics import soft_symmetric
from pvae_neuro.models.networks.dropout import dropping
from pvae_neuro.models.rivals.amortized import (
    PUBLISHED_RECIPE,
    AmortizedArchitecture,
    AmortizedModel,
    NetworkKind,
)
from pvae_neuro.models.sampling.gaussian import NormalSource, gaussian_kl, gaussian_sample
from pvae_neuro.saved.model_file import LOG_SIGMA_BOUND

# Beyond it the variance of a sample is not finite in float32.
_LARGEST_BOUND = 40.0


class GVAEArchitecture(AmortizedArchitecture):
    """Settings of the Gaussian VAE.

    Attributes
    ----------
    relu : bool
        Whether samples are rectified before they are decoded.
    log_sigma_bound : float
        Log standard deviations are squashed into its plus and minus: 3.45 as in the authors' code
        of arXiv 2410.19315, 5.3 in that of arXiv 2405.14473.
    """

    relu: bool = False
    log_sigma_bound: float = Field(default=LOG_SIGMA_BOUND, gt=0.0, le=_LARGEST_BOUND)


class GVAE(AmortizedModel):
    """Amortized Gaussian VAE.

    The encoder returns means and log standard deviations.
    """

    architecture_type = GVAEArchitecture
    law = "Gaussian"
    active_threshold = 0.1
    defaults: ClassVar[dict[str, Any]] = {
        "steps": 1, "beta": 1.0, "learning_rate": 5e-3, "weight_decay": 0.0, "init_scale": 0.01,
        "beta_anneal": 0.5,
    }  # fmt: skip

    def posterior(self, x: Tensor) -> tuple[Tensor, ...]:
        """Mean and log standard deviation, each [B, K]."""
        mu, log_sigma = self.encoder(x).chunk(2, dim=1)
        return mu, soft_symmetric(log_sigma, self.architecture.log_sigma_bound)

    def sample(
        self, posterior: tuple[Tensor, ...], generator: NormalSource
    ) -> tuple[Tensor, Tensor]:
        """Latents and their value without noise, each [B, K], rectified if the family rectifies."""
        mu, log_sigma = posterior
        z = gaussian_sample(mu, log_sigma, generator)
        return (torch.relu(z), torch.relu(mu)) if self.architecture.relu else (z, mu)

    def prior(self, count: int) -> tuple[Tensor, ...]:
        """Mean 0 and log standard deviation 0."""
        zeros = torch.zeros(count, self.config.latents)
        return zeros, zeros

    @torch.no_grad()
    def code(self, x: Tensor, iteration: Iteration) -> Tensor:
        """Means, not rectified: the authors' ``loc`` (``base/helper.py``, ``model2key``)."""
        return self.posterior(x)[0]

    @torch.no_grad()
    def divergence(self, x: Tensor, before: State, after: State) -> Tensor:
        """KL divergence from the standard normal prior; see :meth:`Model.divergence`."""
        return gaussian_kl(*self.posterior(x))

    def window(self, x: Tensor, state: State, settings: WindowSettings) -> Window:
        """Encode a batch and compute its loss; see :meth:`Model.window`."""
        with dropping(self.encoder, settings.noise, self.config.latents):
            posterior = self.posterior(x)
        z, _ = self.sample(posterior, settings.noise)
        kl = gaussian_kl(*posterior).sum(1).mean()
        return Window(self.nll(x, z).mean(), kl, (), z)


class ResidualGVAEArchitecture(GVAEArchitecture):
    """Settings of the Gaussian VAE with the published networks of arXiv 2405.14473."""

    encoder: NetworkKind = "residual"
    decoder: NetworkKind = "residual"
    log_sigma_bound: float = Field(default=5.3, gt=0.0, le=_LARGEST_BOUND)


class ResidualGVAE(GVAE):
    """The Gaussian VAE with the published networks; its recipe is that of the released code."""

    architecture_type = ResidualGVAEArchitecture
    defaults: ClassVar[dict[str, Any]] = PUBLISHED_RECIPE
