"""Models that refine a Gaussian posterior along the gradient of the free energy.

The state is ``(mu, log sigma)``. The free energy is ``|x - decode(z)|² + beta KL(q | N(0, 1))`` at
a reparametrized sample z; its gradient with respect to both drives the refinement.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from pvae_neuro.models.base import Iteration, State
from pvae_neuro.models.rivals.amortized import AmortizedArchitecture, EncoderDecoder, NetworkKind
from pvae_neuro.models.sampling.gaussian import NormalSource, gaussian_kl, gaussian_sample


class Rating(NamedTuple):
    """The free energy of a posterior, at one sample.

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
    """Settings of refined posteriors; encoder and decoder are MLPs by default."""

    encoder: NetworkKind = "mlp"
    decoder: NetworkKind = "mlp"


class RefinedModel(EncoderDecoder):
    """Base of models that refine a Gaussian posterior iteration by iteration."""

    law = "Gaussian"
    defaults: ClassVar[dict[str, Any]] = {
        "steps": 8, "beta": 1.0, "learning_rate": 2e-3, "weight_decay": 0.0, "init_scale": 0.01,
    }  # fmt: skip

    @abstractmethod
    def refine(self, x: Tensor, state: State, gradients: State) -> State:
        """Posterior after an iteration, from the one before and the free energy's gradients.

        State and gradients are means and log standard deviations, [B, K] each.
        """

    def leaves(self, state: State) -> State:
        """The state at the start of a window, which gradients reach."""
        return state if state[0].requires_grad else tuple(p.requires_grad_() for p in state)

    def rate(self, x: Tensor, state: State, source: NormalSource) -> Rating:
        """Both terms of the free energy at a sample of the posterior."""
        mu, log_sigma = state
        z = gaussian_sample(mu, log_sigma, source)
        return Rating(self.nll(x, z), gaussian_kl(mu, log_sigma).sum(1), z)

    @torch.no_grad()
    def divergence(self, x: Tensor, before: State, after: State) -> Tensor:
        """KL divergence from the standard normal prior; see :meth:`Model.divergence`."""
        return gaussian_kl(*after)

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
    """Gradients of each input's ``nll + beta kl`` with respect to the state it was rated at.

    The graph of the rating is kept. If ``differentiable``, later gradients pass through these.
    """
    energy: Any = (rating.nll + beta * rating.kl).sum()
    return torch.autograd.grad(energy, state, retain_graph=True, create_graph=differentiable)
