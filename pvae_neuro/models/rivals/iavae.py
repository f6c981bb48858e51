"""The iterative amortized VAE (Marino, Yue, Mandt 2018, arXiv:1807.09356).

An encoder learns to infer: it takes the input, the posterior and the gradient of the free energy
with respect to it, and returns a gated update (eqs. 6 and 7 there).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from pvae_neuro.models.base import State, Window, WindowSettings
from pvae_neuro.models.rivals.refined import (
    RefinedArchitecture,
    RefinedModel,
    free_energy_gradients,
)
from pvae_neuro.saved.model_file import LOG_SIGMA_BOUND

_OPEN_GATE = 2.0
"""Offset of the gates: an untrained encoder keeps 88 % of the posterior."""


class IterativeAmortizedArchitecture(RefinedArchitecture):
    """Settings of the iterative amortized VAE; its encoder takes more than an image."""

    encoder: Literal["linear", "mlp"] = "mlp"


class IterativeAmortizedVAE(RefinedModel):
    """Iterative amortized Gaussian VAE.

    The encoder takes input, gradients and posterior, [B, M + 4K], and returns new values and gates,
    [B, 4K].
    """

    architecture_type = IterativeAmortizedArchitecture
    outputs_per_latent = 4
    inputs_per_latent = 4

    def start(self, x: Tensor) -> State:
        """The prior: means and log standard deviations of zero."""
        mu = x.new_zeros(len(x), self.config.latents)
        return mu, torch.zeros_like(mu)

    def refine(self, x: Tensor, state: State, gradients: State) -> State:
        """Gated update ``g · old + (1 - g) · new``; see :meth:`RefinedModel.refine`.

        The encoder's inputs carry no gradient; the old values do.
        """
        slopes = torch.cat(gradients, dim=1).detach()
        scaled = functional.layer_norm(slopes, slopes.shape[1:])
        seen = torch.cat([x, scaled, torch.cat(state, dim=1).detach()], dim=1)
        new_mu, new_log_sigma, *gates = self.encoder(seen).chunk(4, dim=1)
        keep_mu, keep_log_sigma = (torch.sigmoid(gate + _OPEN_GATE) for gate in gates)
        mu = torch.lerp(new_mu, state[0], keep_mu)
        log_sigma = torch.lerp(new_log_sigma, state[1], keep_log_sigma)
        return mu, log_sigma.clamp(-LOG_SIGMA_BOUND, LOG_SIGMA_BOUND)

    def window(self, x: Tensor, state: State, settings: WindowSettings) -> Window:
        """Refine T times; the loss is the mean over all iterations. See :meth:`Model.window`."""
        state = self.leaves(state)
        rating = self.rate(x, state, settings.noise)
        nll, kl = x.new_zeros(()), x.new_zeros(())
        for _ in range(settings.steps):
            gradients = free_energy_gradients(rating, state, settings.beta)
            state = self.refine(x, state, gradients)
            rating = self.rate(x, state, settings.noise)
            nll, kl = nll + rating.nll.mean(), kl + rating.kl.mean()
        return Window(nll / settings.steps, kl / settings.steps, state, rating.z)
