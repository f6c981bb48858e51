"""Gaussian latents: their divergence, and samples through which gradients pass."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pvae_neuro.models.sampling.counter_noise import CounterNoise

NormalSource = torch.Generator | CounterNoise | None
"""Where normal numbers come from; None is torch's global generator."""

_SQRT_2 = math.sqrt(2.0)


def standard_normal(like: Tensor, source: NormalSource = None) -> Tensor:
    """Draw independent standard normal numbers.

    Parameters
    ----------
    like : Tensor
        Gives shape, device and floating dtype; [B, K] for a source that splits by sample.
    source : torch.Generator or CounterNoise, optional
        A generator on ``like``'s device, or uniform numbers that depend on their place alone.

    Returns
    -------
    Tensor
        Same shape, dtype and device as ``like``, without gradient.
    """
    if not isinstance(source, CounterNoise):
        return torch.randn(like.shape, generator=source, dtype=like.dtype, device=like.device)
    places = torch.arange(like.numel(), device=like.device)
    uniform = source.draw(like.numel(), like.device)(places, 0, 1)
    # Uniforms are multiples of 2^-24 in [0, 1): half a step more makes them symmetric, and keeps
    # the normal finite, within 5.4.
    centered = uniform.mul_(2.0).add_(2.0**-24 - 1.0)
    return centered.erfinv_().mul_(_SQRT_2).view(like.shape).to(like.dtype)


def gaussian_sample(mu: Tensor, log_sigma: Tensor, source: NormalSource = None) -> Tensor:
    """Reparametrized sample ``mu + sigma eps`` (Kingma, Welling 2014, arXiv:1312.6114).

    Parameters
    ----------
    mu, log_sigma : Tensor
        Mean and log standard deviation, [B, K].
    source : torch.Generator or CounterNoise, optional
        See :func:`standard_normal`.

    Returns
    -------
    Tensor
        [B, K]; gradients reach both.
    """
    return mu + torch.exp(log_sigma) * standard_normal(mu, source)


def gaussian_kl(
    mu: Tensor,
    log_sigma: Tensor,
    prior_mu: Tensor | float = 0.0,
    prior_log_sigma: Tensor | float = 0.0,
) -> Tensor:
    """Divergence between normal distributions, posterior from prior.

    Parameters
    ----------
    mu, log_sigma : Tensor
        Mean and log standard deviation of the posterior, [B, K].
    prior_mu, prior_log_sigma : Tensor or float
        Of the prior, of a shape that broadcasts; standard normal if not given.

    Returns
    -------
    Tensor
        Nats per neuron, [B, K], never negative.
    """
    change = log_sigma - prior_log_sigma
    distance = (mu - prior_mu) * torch.exp(torch.as_tensor(-prior_log_sigma))
    # expm1 keeps the precision that e^2c - 1 - 2c loses for small changes.
    return 0.5 * (torch.expm1(2.0 * change) - 2.0 * change + distance**2)
