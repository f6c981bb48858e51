"""A level of Poisson neurons: membrane potentials, their leak, and how they move."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pvae_neuro.models.dynamics import clamp_by
from pvae_neuro.saved.model_file import ModelConfig

_LOWEST_START = -6.0
_START_SPAN = 2.0
_LOG_LEAK = -3.0


class Potentials(nn.Module):
    """Parameters of the dynamics of one level (arXiv 2410.19315, as released).

    Parameters
    ----------
    latents : int
        Neurons K.
    generator : torch.Generator, optional
        Source of the initial potentials.

    Attributes
    ----------
    log_bias : Parameter
        Logarithm of the constant leak per neuron, [K].
    log_step_size : Parameter
        Logarithm of the step size η, scalar.
    initial_potential : Parameter
        u before the first step, [K].
    """

    def __init__(self, latents: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        uniform = torch.rand(latents, generator=generator)
        self.log_bias = nn.Parameter(torch.full((latents,), _LOG_LEAK))
        self.log_step_size = nn.Parameter(torch.zeros(()))
        self.initial_potential = nn.Parameter(_LOWEST_START + _START_SPAN * uniform)

    def start(self, batch: int) -> Tensor:
        """Potentials before the first step, [B, K]."""
        return self.initial_potential.expand(batch, -1)

    def advance(
        self, u: Tensor, residual: Tensor, config: ModelConfig, u_prior: Tensor | None = None
    ) -> Tensor:
        """Move potentials up a residual and down their leak.

        Parameters
        ----------
        u : Tensor
            Potentials before, [B, K].
        residual : Tensor
            Negative natural gradient of the free energy without the leak, [B, K].
        config : ModelConfig
            Clamps, and inner updates.
        u_prior : Tensor, optional
            Potentials at the start of the time step, which draw u back where there is more than
            one inner update.

        Returns
        -------
        Tensor
            Potentials after, [B, K].
        """
        force = residual - torch.exp(self.log_bias)
        if u_prior is not None and config.inner_updates > 1:
            force = force - config.beta_inner * (u - u_prior)
        return move(u, torch.exp(self.log_step_size) * force, config)


def move(u: Tensor, push: Tensor, config: ModelConfig) -> Tensor:
    """Add a change to potentials, both clamped.

    Parameters
    ----------
    u, push : Tensor
        Potentials, and the change that is asked for, [B, K].
    config : ModelConfig
        ``clamp``, ``clamp_u``, ``clamp_du``, ``floor_u``.

    Returns
    -------
    Tensor
        [B, K].
    """
    change = clamp_by(config.clamp, push, config.clamp_du, config.floor_u)
    return clamp_by(config.clamp, u + change, config.clamp_u, config.floor_u)
