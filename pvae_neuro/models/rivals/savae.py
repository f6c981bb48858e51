"""The semi-amortized VAE (Kim, Wiseman, Miller, Sontag, Rush 2018, arXiv:1802.02550).

An encoder proposes the posterior, steps of stochastic variational inference refine it, and encoder
and decoder learn from the refined posterior, through the steps (algorithm 1 there).
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from pvae_neuro.models.base import State, Window, WindowSettings
from pvae_neuro.models.dynamics import soft_symmetric
from pvae_neuro.models.rivals.refined import (
    RefinedArchitecture,
    RefinedModel,
    free_energy_gradients,
)
from pvae_neuro.saved.model_file import LOG_SIGMA_BOUND


class SemiAmortizedArchitecture(RefinedArchitecture):
    """Settings of the semi-amortized VAE.

    Attributes
    ----------
    step_size : float
        Step of inference, as a multiple of the free energy's gradient.
    largest_gradient : float
        Upper bound of the norm of each input's gradient.
    """

    step_size: float = Field(default=0.1, gt=0.0)
    largest_gradient: float = Field(default=5.0, gt=0.0)


class SemiAmortizedVAE(RefinedModel):
    """Semi-amortized Gaussian VAE.

    Beyond the number of steps that it was trained with, inference continues to descend the free
    energy.
    """

    architecture_type = SemiAmortizedArchitecture

    def start(self, x: Tensor) -> State:
        """The encoder's proposal: means and log standard deviations."""
        mu, log_sigma = self.encoder(x).chunk(2, dim=1)
        return mu, soft_symmetric(log_sigma, LOG_SIGMA_BOUND)

    def refine(self, x: Tensor, state: State, gradients: State) -> State:
        """Take a step down the gradient; see :meth:`RefinedModel.refine`."""
        length = torch.cat(gradients, dim=1).norm(dim=1, keepdim=True)
        bound = self.architecture.largest_gradient
        scale = (bound / length.clamp(min=bound)) * self.architecture.step_size
        mu, log_sigma = (part - scale * slope for part, slope in zip(state, gradients, strict=True))
        return mu, log_sigma.clamp(-LOG_SIGMA_BOUND, LOG_SIGMA_BOUND)

    def window(self, x: Tensor, state: State, settings: WindowSettings) -> Window:
        """Refine, then compute the loss of the result; see :meth:`Model.window`."""
        state = self.leaves(state)
        for _ in range(settings.steps):
            rating = self.rate(x, state, settings.noise)
            gradients = free_energy_gradients(rating, state, settings.beta, True)
            state = self.refine(x, state, gradients)
        rating = self.rate(x, state, settings.noise)
        return Window(rating.nll.mean(), rating.kl.mean(), state, rating.z)
