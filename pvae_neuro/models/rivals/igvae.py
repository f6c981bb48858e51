"""The iterative Gaussian VAE, with plain or rectified samples (arXiv 2410.19315).

The state is the mean μ and ξ = log σ of each latent. One iteration draws ε and moves both along
the natural gradient of the free energy, whose prior is the posterior of the iteration before::

    y = mu + sigma eps          z = y, or relu(y)
    g = Phi^T Sigma^-1 (x - Phi z),  gated by y > 0 where z is rectified
    mu = S(mu + S(eta_mu (sigma^2 g - e^b)))
    xi = S(xi + S(eta_xi 1/2 sigma eps g))

The Fisher information of a normal distribution in (μ, ξ) is diag(1/σ², 2): hence the
preconditioners σ² and 1/2. The KL divergence from the previous posterior has no gradient where the
two are equal, so it appears only in the loss. :class:`IGVAE` is the published model, in the form of
the authors' released code (``GaussianLayer`` of its ``main/layers.py``): the leak e^b stays outside
the Fisher factor, and S is ``c tanh(x / c)``, so that ξ within ±2 keeps σ above .135.
:class:`NaturalIGVAE` takes the leak as part of the energy, so that it has that factor too, and
bounds the state as the Poisson models do: above, with one low floor.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pvae_neuro.models.base import Architecture, Iteration, State, Window, WindowSettings
from pvae_neuro.models.dynamics import CLAMPS, SYMMETRIC_CLAMPS, Bound, final_bound
from pvae_neuro.models.poisson.pixels import LinearPixels
from pvae_neuro.models.sampling.gaussian import NormalSource, gaussian_kl, standard_normal

_LOG_LEAK = -3.0


class GaussianArchitecture(Architecture):
    """Settings of the iterative Gaussian VAE.

    Attributes
    ----------
    relu : bool
        Rectify the samples: iG-relu-VAE.
    clamp_log_sigma, clamp_log_sigma_change : float
        Bounds of ξ and of its change; those of μ are the configuration's ``clamp_u`` and
        ``clamp_du``, 7 and 7 as released.
    """

    relu: bool = False
    clamp_log_sigma: float = 2.0
    clamp_log_sigma_change: float = 3.0


class IGVAE(LinearPixels):
    """Iterative Gaussian VAE, linear decoder, as published.

    Attributes
    ----------
    log_bias : Parameter
        Logarithm of the constant leak of μ per latent, [K].
    log_step_size : Parameter
        Logarithms of the step sizes of μ and ξ, [2].
    initial_mean, initial_log_sigma : Parameter
        μ and ξ before the first step, [K] each.
    """

    law = "Gaussian"
    architecture_type = GaussianArchitecture
    unread = ("inner_updates", "kl")
    defaults: ClassVar[dict[str, Any]] = {
        "clamp_u": 7.0, "clamp_du": 7.0, "clamp": "soft", "beta": 8.0,
    }  # fmt: skip

    def build(self, generator: torch.Generator | None, init_scale: float | None) -> None:
        """Create the parameters of the pixels, then leak, step sizes and initial values."""
        super().build(generator, init_scale)
        latents = self.config.latents
        self.log_bias = nn.Parameter(torch.full((latents,), _LOG_LEAK))
        self.log_step_size = nn.Parameter(torch.zeros(2))
        self.initial_mean = nn.Parameter(torch.zeros(latents))
        self.initial_log_sigma = nn.Parameter(torch.zeros(latents))

    def start(self, x: Tensor) -> State:
        """Mean and log deviation before the first iteration: ``(mu, xi)``, [B, K] each."""
        shape = (len(x), -1)
        return self.initial_mean.expand(shape), self.initial_log_sigma.expand(shape)

    def advance(
        self, mu: Tensor, xi: Tensor, eps: Tensor, pull: Tensor, bound: Bound = final_bound
    ) -> State:
        """Move mean and log deviation [B, K] along the natural gradient; returns both.

        ``eps`` is the noise of the sample, ``pull`` is ``Φᵀ Σ⁻¹ (x - Φ z)``, gated; each [B, K].
        ``bound`` is what the bounds of the configuration are in this window.
        """
        sigma, step = torch.exp(xi), torch.exp(self.log_step_size)
        push_mean = step[0] * self.force(sigma, pull)
        push_log_sigma = step[1] * 0.5 * sigma * eps * pull
        config, own = self.config, self.architecture
        bounds = bound(config.clamp_u), bound(config.clamp_du)
        bounds_xi = bound(own.clamp_log_sigma), bound(own.clamp_log_sigma_change)
        return self.move(mu, push_mean, *bounds), self.move(xi, push_log_sigma, *bounds_xi)

    def move(self, value: Tensor, push: Tensor, bound: float, bound_change: float) -> Tensor:
        """Move a state by a push, both bounded."""
        return self.clamp(value + self.clamp(push, bound_change), bound)

    def force(self, sigma: Tensor, pull: Tensor) -> Tensor:
        """What moves μ, before its step size: from σ and the pull, [B, K] each."""
        return sigma**2 * pull - torch.exp(self.log_bias)

    def clamp(self, value: Tensor, bound: float) -> Tensor:
        """Bound a state or its change."""
        return SYMMETRIC_CLAMPS[self.config.clamp](value, bound)

    def sample(self, mu: Tensor, xi: Tensor, source: NormalSource) -> tuple[Tensor, Tensor]:
        """Draw ``y = mu + sigma eps``, not yet rectified; returns y and eps, [B, K] each."""
        eps = standard_normal(mu, source)
        return mu + torch.exp(xi) * eps, eps

    def rectify(self, y: Tensor) -> Tensor:
        """Latents z from samples y: relu(y) or y itself, [B, K]."""
        return torch.relu(y) if self.architecture.relu else y

    def gate(self, y: Tensor, pull: Tensor) -> Tensor:
        """The error that reaches y: none where rectification makes z zero."""
        return pull * (y > 0) if self.architecture.relu else pull

    def window(self, x: Tensor, state: State, settings: WindowSettings) -> Window:
        """Run a window of training iterations; see :meth:`Model.window`.

        As in :meth:`IPVAE.plain_window`, iterations run in the space of the latents, and the sample
        that reads one iteration out drives the next.
        """
        drive = self.drive(x)
        mu, xi = state
        y, eps = self.sample(mu, xi, settings.noise)
        z = self.rectify(y)
        pull = drive.residual(z)
        nll, kl = mu.new_zeros(()), mu.new_zeros(())
        for _ in range(settings.steps):
            prior = mu, xi
            mu, xi = self.advance(mu, xi, eps, self.gate(y, pull), settings.bound)
            y, eps = self.sample(mu, xi, settings.noise)
            z = self.rectify(y)
            pull = drive.residual(z)
            nll = nll - drive.explained(z, pull)
            kl = kl + gaussian_kl(mu, xi, *prior).sum()
        terms = settings.steps * len(x)
        return Window(nll / terms + drive.constant.mean(), kl / terms, (mu, xi), z)

    @torch.no_grad()
    def divergence(self, x: Tensor, before: State, after: State) -> Tensor:
        """KL divergence from the posterior before; see :meth:`Model.divergence`."""
        return gaussian_kl(*after[:2], *before[:2])

    @torch.no_grad()
    def iterate(self, x: Tensor, state: State, generator: torch.Generator | None) -> Iteration:
        """Run one iteration; see :meth:`Model.iterate`.

        The state is ``(mu, xi, eps)`` after the first: the sample that reads one iteration out also
        drives the next. ``mean`` is relu(μ) where samples are rectified, the papers' MAP;
        ``change`` is that of μ alone, as in the authors' code.
        """
        mu, xi = state[:2]
        eps = state[2] if len(state) > 2 else standard_normal(mu, generator)
        y = mu + torch.exp(xi) * eps
        pull = self.gate(y, self.pull_back(x, self.rectify(y)))
        after, log_sigma = self.advance(mu, xi, eps, pull)
        y, eps = self.sample(after, log_sigma, generator)
        z = self.rectify(y)
        change = (after - mu).norm(dim=1)
        state = after, log_sigma, eps
        return Iteration(state, z, self.decode(z), self.rectify(after), change)


class NaturalIGVAE(IGVAE):
    """Iterative Gaussian VAE whose leak belongs to the free energy.

    μ moves by ``σ² (g - e^b)``. The state and its change have the floor ``floor_u`` and the upper
    bounds of the published model, so that σ may fall to ``e^-8``.
    """

    defaults: ClassVar[dict[str, Any]] = {**IGVAE.defaults, "clamp": "hard"}

    def force(self, sigma: Tensor, pull: Tensor) -> Tensor:
        """What moves μ, before its step size: from σ and the pull, [B, K] each."""
        return sigma**2 * (pull - torch.exp(self.log_bias))

    def clamp(self, value: Tensor, bound: float) -> Tensor:
        """Bound a state or its change."""
        return CLAMPS[self.config.clamp](value, bound, self.config.floor_u)
