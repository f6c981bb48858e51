"""Gaussian posteriors that iterations refine along the gradient of the free energy.

State is ``(mu, log sigma)``. The free energy is ``|x - decode(z)|² + beta KL(q | N(0, 1))`` at a
reparametrized sample z; its gradient tells how to move the two.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pvae_neuro.models.base import Iteration, State
from pvae_neuro.models.rivals.amortized import AmortizedArchitecture, EncoderDecoder, NetworkKind
from pvae_neuro.models.sampling.gaussian import NormalSource, gaussian_kl, gaussian_sample


class Rating(NamedTuple):
    """A posterior rated at one sample.

    Attributes
    ----------
    nll, kl : Tensor
        In nats, [B].
    z : Tensor
        The sample, [B, K].
    """

    nll: Tensor
    kl: Tensor
    z: Tensor


class RefinedArchitecture(AmortizedArchitecture):
    """Settings of refined posteriors: encoder and decoder are MLPs if not set otherwise."""

    encoder: NetworkKind = "mlp"
    decoder: NetworkKind = "mlp"


class RefinedModel(EncoderDecoder):
    """Base of models that refine a Gaussian posterior iteration by iteration."""

    @abstractmethod
    def refine(self, x: Tensor, state: State, gradients: State) -> State:
        """Posterior after an iteration.

        Parameters
        ----------
        x : Tensor
            Inputs, [B, M].
        state : tuple of Tensor
            Means and log standard deviations, [B, K] each.
        gradients : tuple of Tensor
            Of the free energy in both.

        Returns
        -------
        tuple of Tensor
            As ``state``.
        """

    def rate(self, x: Tensor, state: State, source: NormalSource) -> Rating:
        """Both terms of the free energy at a sample of the posterior."""
        mu, log_sigma = state
        z = gaussian_sample(mu, log_sigma, source)
        return Rating(self.nll(x, z), gaussian_kl(mu, log_sigma).sum(1), z)

    @torch.no_grad()
    def iterate(self, x: Tensor, state: State, generator: torch.Generator | None) -> Iteration:
        """Refine once and sample; see :meth:`Model.iterate`."""
        with torch.enable_grad():
            leaves = tuple(part.detach().requires_grad_() for part in state)
            rating = self.rate(x, leaves, generator)
            gradients = free_energy_gradients(rating, leaves, self.config.beta)
        after = self.refine(x, state, gradients)
        mu, log_sigma = after
        z = gaussian_sample(mu, log_sigma, generator)
        change = (torch.cat(after, dim=1) - torch.cat(state, dim=1)).norm(dim=1)
        return Iteration(after, z, self.decode(z), mu, change)


def free_energy_gradients(
    rating: Rating, state: State, beta: float, differentiable: bool = False
) -> State:
    """Gradients of ``nll + beta kl``, each input's own, in means and log standard deviations.

    Parameters
    ----------
    rating : Rating
        Of ``state``; its graph stays for another use.
    state : tuple of Tensor
        Parts of that graph.
    beta : float
    differentiable : bool
        Whether later gradients pass through these.

    Returns
    -------
    tuple of Tensor
        As ``state``.
    """
    energy: Any = (rating.nll + beta * rating.kl).sum()
    return torch.autograd.grad(energy, state, retain_graph=True, create_graph=differentiable)
