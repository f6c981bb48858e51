"""The iterative Poisson VAE with a linear decoder (arXiv 2410.19315).

Membrane potentials ``u`` are log-rates. Each time step draws spike counts ``z ~ Poisson(exp(u))``,
decodes them through the dictionary Φ, and moves ``u`` along the natural gradient of the free
energy: the feed-forward drive minus the explaining-away that the spikes bring, minus a leak.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from pvae_neuro.checkpoints import LOG_SIGMA_BOUND, ModelConfig
from pvae_neuro.models.base import Iteration, Model, State, Window, WindowSettings
from pvae_neuro.models.dynamics import clamp_by, kl_divergence
from pvae_neuro.models.relaxed_poisson import RELEASED_ARRIVALS, sample_counts

_LOG_2PI = math.log(2.0 * math.pi)


class StepResult(NamedTuple):
    """What one time step gives.

    Attributes
    ----------
    u : Tensor
        Membrane potentials after the update, [B, K].
    z : Tensor
        Spike counts that drove the update, drawn before it, [B, K].
    z_readout : Tensor
        Fresh spike counts, drawn after the update, [B, K].
    reconstruction : Tensor
        Φ times ``z_readout``, [B, M], in units of the input.
    kl : Tensor
        Kullback-Leibler divergence to the previous posterior, in nats per neuron, [B, K].
    nll : Tensor
        Negative log-likelihood of the input, in nats summed over pixels, [B].
    """

    u: Tensor
    z: Tensor
    z_readout: Tensor
    reconstruction: Tensor
    kl: Tensor
    nll: Tensor


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


class IPVAE(Model):
    """Iterative Poisson VAE, linear decoder.

    Parameters
    ----------
    config : ModelConfig
        Sizes, clamps and the kind of KL.
    generator : torch.Generator, optional
        Source of the initial parameters.
    init_scale : float, optional
        Standard deviation of the initial dictionary; 1e-4 as in the released models if not given.

    Attributes
    ----------
    dictionary : Parameter
        Φ, [M, K], input units per spike.
    log_sigma : Parameter
        Log standard deviation per pixel before its squashing, [M].
    log_bias : Parameter
        Logarithm of the constant leak per neuron, [K].
    log_step_size : Parameter
        Logarithm of the step size η, scalar.
    initial_potential : Parameter
        u before the first step, [K].
    """

    silence = 0.5
    # Exact counts train several times faster than relaxed ones, under the bounds of integers; 3.65
    # is the largest hundredth whose counts end at 63.
    defaults: ClassVar[dict[str, Any]] = {
        "estimator": "exact", "clamp": "hard", "clamp_u": 3.65, "clamp_du": 3.65,
    }  # fmt: skip

    def __init__(
        self,
        config: ModelConfig,
        generator: torch.Generator | None = None,
        init_scale: float | None = None,
    ) -> None:
        super().__init__(config, generator)
        pixels, latents = config.pixels, config.latents
        normal = torch.randn(pixels, latents, generator=generator)
        uniform = torch.rand(latents, generator=generator)
        self.dictionary = nn.Parameter((1e-4 if init_scale is None else init_scale) * normal)
        self.log_sigma = nn.Parameter(torch.zeros(pixels))
        self.log_bias = nn.Parameter(torch.full((latents,), -3.0))
        self.log_step_size = nn.Parameter(torch.zeros(()))
        self.initial_potential = nn.Parameter(-6.0 + 2.0 * uniform)

    @property
    def precision(self) -> Tensor:
        """Inverse variance per pixel, [M]."""
        return torch.exp(-2.0 * self._squashed_log_sigma())

    def _squashed_log_sigma(self) -> Tensor:
        return LOG_SIGMA_BOUND * torch.tanh(self.log_sigma / LOG_SIGMA_BOUND)

    def initial_state(self, batch: int) -> Tensor:
        """Membrane potentials before the first step.

        Parameters
        ----------
        batch : int
            Number of samples B.

        Returns
        -------
        Tensor
            [B, K].
        """
        return self.initial_potential.expand(batch, -1)

    def decode(self, z: Tensor) -> Tensor:
        """Reconstruct inputs from counts.

        Parameters
        ----------
        z : Tensor
            Spike counts, or rates for the mean reconstruction, [B, K].

        Returns
        -------
        Tensor
            [B, M], in units of the input.
        """
        return z @ self.dictionary.T

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
        squares = (x - reconstruction) ** 2 @ self.precision
        return 0.5 * squares + self._log_normalizer()

    def _log_normalizer(self) -> Tensor:
        return self._squashed_log_sigma().sum() + 0.5 * self.config.pixels * _LOG_2PI

    def drive(self, x: Tensor) -> Drive:
        """Project a batch into the space of the latents, for :meth:`advance`.

        Parameters
        ----------
        x : Tensor
            [B, M].

        Returns
        -------
        Drive
            Whatever of input and decoder stays the same over a window.
        """
        precision = self.precision
        weighted = precision.unsqueeze(1) * self.dictionary
        constant = 0.5 * (x**2 @ precision) + self._log_normalizer()
        return Drive(x @ weighted, self.dictionary.T @ weighted, constant)

    def advance(self, u: Tensor, residual: Tensor, u_prior: Tensor | None = None) -> Tensor:
        """Move the potentials along a residual already projected by Φᵀ Σ⁻¹.

        Parameters
        ----------
        u : Tensor
            Potentials before, [B, K].
        residual : Tensor
            ``Φᵀ Σ⁻¹ (x - Φ z)``, [B, K].
        u_prior : Tensor, optional
            Potentials at the start of the time step, for the leak towards them that applies with
            more than one inner update; without it there is no such leak.

        Returns
        -------
        Tensor
            Potentials after, [B, K].
        """
        config = self.config
        force = residual - torch.exp(self.log_bias)
        if u_prior is not None and config.inner_updates > 1:
            force = force - config.beta_inner * (u - u_prior)
        push = torch.exp(self.log_step_size) * force
        change = clamp_by(config.clamp, push, config.clamp_du, config.floor_u)
        return clamp_by(config.clamp, u + change, config.clamp_u, config.floor_u)

    def update(self, u: Tensor, x: Tensor, z: Tensor, u_prior: Tensor | None = None) -> Tensor:
        """Apply one inference update for given spike counts.

        Parameters
        ----------
        u : Tensor
            Membrane potentials before, [B, K].
        x : Tensor
            Inputs, [B, M].
        z : Tensor
            Spike counts drawn at ``u``, [B, K].
        u_prior : Tensor, optional
            Potentials at the start of the time step; see :meth:`advance`.

        Returns
        -------
        Tensor
            Membrane potentials after, [B, K].
        """
        residual = ((x - self.decode(z)) * self.precision) @ self.dictionary
        return self.advance(u, residual, u_prior)

    def step(
        self,
        u: Tensor,
        x: Tensor,
        temperature: float = 0.0,
        generator: torch.Generator | None = None,
        max_arrivals: int = RELEASED_ARRIVALS,
    ) -> StepResult:
        """Run one time step: all inner updates, then a readout from a fresh sample.

        Parameters
        ----------
        u : Tensor
            Membrane potentials at the start of the step, [B, K]; they are its prior.
        x : Tensor
            Inputs, [B, M].
        temperature : float
            Of the relaxed samples; zero draws exact Poisson counts.
        generator : torch.Generator, optional
            Source of the samples.
        max_arrivals : int
            See :func:`~pvae_neuro.models.relaxed_poisson.sample_counts`.

        Returns
        -------
        StepResult
            State, samples, reconstruction and the terms of the loss.
        """
        u_prior = u
        for _ in range(self.config.inner_updates):
            z = sample_counts(u, temperature, generator, max_arrivals)
            u = self.update(u, x, z, u_prior)
        readout = sample_counts(u, temperature, generator, max_arrivals)
        reconstruction = self.decode(readout)
        kl = kl_divergence(u, u_prior, self.config.kl)
        return StepResult(u, z, readout, reconstruction, kl, self.nll(x, reconstruction))

    def start(self, x: Tensor) -> State:
        """Membrane potentials before the first iteration: ``(u,)``, [B, K]."""
        return (self.initial_state(len(x)),)

    def window(self, x: Tensor, state: State, settings: WindowSettings) -> Window:
        """Run a window of training iterations; see :meth:`Model.window`."""
        from pvae_neuro.models.window import run_window

        result = run_window(
            self, x, state[0], settings.steps, settings.temperature, settings.noise,
            settings.max_arrivals, settings.estimator,
        )  # fmt: skip
        return Window(result.nll, result.kl, (result.u,), result.z, result.firing)

    @torch.no_grad()
    def iterate(self, x: Tensor, state: State, generator: torch.Generator | None) -> Iteration:
        """Run one iteration on exact counts; see :meth:`Model.iterate`.

        The counts that read one iteration out drive the next, so the state is ``(u, z)`` after
        the first.
        """
        u = state[0]
        z = state[1] if len(state) > 1 else sample_counts(u, 0.0, generator)
        after = u
        for repeat in range(self.config.inner_updates):
            z = sample_counts(after, 0.0, generator) if repeat else z
            after = self.update(after, x, z, u)
        readout = sample_counts(after, 0.0, generator)
        change = (after - u).norm(dim=1)
        return Iteration((after, readout), readout, self.decode(readout), torch.exp(after), change)

    def learning_rate_shares(self, dictionary_rate: float) -> dict[str, float]:
        """The dictionary learns at a rate of its own; see :class:`TrainConfig`."""
        return {"dictionary": dictionary_rate}
