"""The iterative Poisson VAE with a linear decoder (arXiv 2410.19315).

Membrane potentials ``u`` are log-rates. Each time step draws spike counts ``z ~ Poisson(exp(u))``,
decodes them through the dictionary Φ, and moves ``u`` along the natural gradient of the free
energy: the feed-forward drive minus the explaining-away that the spikes bring, minus a leak.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from pvae_neuro.models.base import Iteration, State, Window, WindowSettings
from pvae_neuro.models.dynamics import kl_divergence
from pvae_neuro.models.poisson.pixels import LinearPixels
from pvae_neuro.models.poisson.potentials import move
from pvae_neuro.models.sampling.relaxed_poisson import RELEASED_ARRIVALS, sample_counts
from pvae_neuro.saved.model_file import ModelConfig


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


class IPVAE(LinearPixels):
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
        super().__init__(config, generator, init_scale)
        uniform = torch.rand(config.latents, generator=generator)
        self.log_bias = nn.Parameter(torch.full((config.latents,), -3.0))
        self.log_step_size = nn.Parameter(torch.zeros(()))
        self.initial_potential = nn.Parameter(-6.0 + 2.0 * uniform)

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
        return move(u, torch.exp(self.log_step_size) * force, config)

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
        return self.advance(u, self.pull_back(x, z), u_prior)

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
            See :func:`~pvae_neuro.models.sampling.relaxed_poisson.sample_counts`.

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
        from pvae_neuro.models.poisson.window import run_window

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
