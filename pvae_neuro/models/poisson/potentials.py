"""Membrane potentials of a level of Poisson neurons: how they start, leak and move."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pvae_neuro.models.base import Iteration, State
from pvae_neuro.models.dynamics import CLAMPS, Bound, final_bound, kl_divergence
from pvae_neuro.models.sampling.relaxed_poisson import sample_counts
from pvae_neuro.saved.model_file import ModelConfig

_LOWEST_START = -6.0
_START_SPAN = 2.0
_LOG_LEAK = -3.0


class PoissonLevel(nn.Module):
    """Mixin with the parameters and the update of one level (arXiv 2410.19315, as released).

    Attributes
    ----------
    log_bias : Parameter
        Logarithm of the constant leak per neuron, [K].
    log_step_size : Parameter
        Logarithm of the step size η, scalar.
    initial_potential : Parameter
        u before the first step, [K].
    """

    config: ModelConfig

    def build_level(self, latents: int, generator: torch.Generator | None) -> None:
        """Create the parameters of K neurons."""
        uniform = torch.rand(latents, generator=generator)
        self.log_bias = nn.Parameter(torch.full((latents,), _LOG_LEAK))
        self.log_step_size = nn.Parameter(torch.zeros(()))
        self.initial_potential = nn.Parameter(_LOWEST_START + _START_SPAN * uniform)

    def initial_state(self, batch: int) -> Tensor:
        """Potentials before the first step, [B, K]."""
        return self.each(self.initial_potential).expand(batch, -1)

    def each(self, values: Tensor) -> Tensor:
        """One value for each neuron, [K], of a parameter; here parameters have as many."""
        return values

    def advance(
        self,
        u: Tensor,
        residual: Tensor,
        u_prior: Tensor | None = None,
        bound: Bound = final_bound,
    ) -> Tensor:
        """Move potentials u [B, K] along a residual and down their leak; returns them, clamped.

        Parameters
        ----------
        u : Tensor
            Potentials before, [B, K].
        residual : Tensor
            Negative natural gradient of the free energy without the leak, [B, K]:
            ``Φᵀ Σ⁻¹ (x - Φ z)`` for a linear decoder.
        u_prior : Tensor, optional
            Potentials at the start of the time step. With more than one inner update, u also leaks
            towards them.
        bound : callable
            What the upper bounds of the configuration are in this window.
        """
        config = self.config
        force = residual - self.each(torch.exp(self.log_bias))
        if u_prior is not None and config.inner_updates > 1:
            force = force - config.beta_inner * (u - u_prior)
        clamp = CLAMPS[config.clamp]
        push = torch.exp(self.log_step_size) * force
        change = clamp(push, bound(config.clamp_du), config.floor_u)
        return clamp(u + change, bound(config.clamp_u), config.floor_u)

    @torch.no_grad()
    def divergence(self, x: Tensor, before: State, after: State) -> Tensor:
        """KL divergence of this level from its posterior before; see :meth:`Model.divergence`."""
        return kl_divergence(after[0], before[0], self.config.kl)

    def iterate_level(
        self,
        state: State,
        generator: torch.Generator | None,
        residual: Callable[[Tensor], Tensor],
        decode: Callable[[Tensor], Tensor],
    ) -> Iteration:
        """Run one iteration on exact counts, where this level is the only one.

        The counts that read one iteration out drive the next, so the state is ``(u,)`` before the
        first iteration and ``(u, z)`` after it. ``residual`` and ``decode`` take counts [B, K].
        """
        u = state[0]
        z = state[1] if len(state) > 1 else sample_counts(u, 0.0, generator)
        after = u
        for repeat in range(self.config.inner_updates):
            z = sample_counts(after, 0.0, generator) if repeat else z
            after = self.advance(after, residual(z), u)
        readout = sample_counts(after, 0.0, generator)
        change = (after - u).norm(dim=1)
        return Iteration((after, readout), readout, decode(readout), torch.exp(after), change)


class Potentials(PoissonLevel):
    """A level as a module of its own, for models whose other parameters have the same names."""

    def __init__(
        self, config: ModelConfig, latents: int, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.config = config
        self.build_level(latents, generator)
