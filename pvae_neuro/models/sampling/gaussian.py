"""Gaussian latents: reparametrized samples and their KL divergence."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pvae_neuro.models.sampling.counter_noise import CounterNoise

NormalSource = torch.Generator | CounterNoise | None
"""Source of normal numbers; None is torch's global generator."""

_SQRT_2 = math.sqrt(2.0)


def standard_normal(like: Tensor, source: NormalSource = None) -> Tensor:
    """Draw standard normal numbers with the shape, dtype and device of ``like``.

    A :class:`CounterNoise` takes ``like`` as [B, K] and splits by sample.
    """
    if not isinstance(source, CounterNoise):
        return torch.randn(like.shape, generator=source, dtype=like.dtype, device=like.device)
    places = torch.arange(like.numel(), device=like.device)
    uniform = source.draw(like.numel(), like.device)(places, 0, 1)
    # Uniforms are multiples of 2^-24 in [0, 1). Half a step more makes them symmetric, and keeps
    # the normal number finite: within 5.4.
    centered = uniform.mul_(2.0).add_(2.0**-24 - 1.0)
    return centered.erfinv_().mul_(_SQRT_2).view(like.shape).to(like.dtype)


def gaussian_sample(mu: Tensor, log_sigma: Tensor, source: NormalSource = None) -> Tensor:
    """Reparametrized sample ``mu + sigma eps`` (Kingma, Welling 2014, arXiv:1312.6114)."""
    return mu + torch.exp(log_sigma) * standard_normal(mu, source)


def gaussian_kl(
    mu: Tensor,
    log_sigma: Tensor,
    prior_mu: Tensor | float = 0.0,
    prior_log_sigma: Tensor | float = 0.0,
) -> Tensor:
    """KL divergence of a normal posterior from a normal prior, nats per neuron, [B, K].

    The prior is standard normal by default; its mean and log standard deviation may broadcast.
    """
    change = log_sigma - prior_log_sigma
    distance = (mu - prior_mu) * torch.exp(torch.as_tensor(-prior_log_sigma))
    # expm1 keeps the precision that e^2c - 1 - 2c loses for small changes.
    return 0.5 * (torch.expm1(2.0 * change) - 2.0 * change + distance**2)
