"""The training loss of one window of time steps, computed in the space of the latents.

Two identities make a window several times cheaper than :meth:`IPVAE.step` and leave its expected
loss as it is. With ``W = Φᵀ Σ⁻¹ Φ`` and ``h = Φᵀ Σ⁻¹ x``, known before the first step, the residual
that drives the potentials is ``g = h - W z``, and the squared error of the same sample is
``½ (x - Φz)ᵀ Σ⁻¹ (x - Φz) = ½ xᵀ Σ⁻¹ x - ½ zᵀ (h + g)``: the loop touches no pixel. And the
sample that reads a step out may be the one that drives the next step: both are drawn at the same
potentials, so the expectation of each term stays the same, and one sample and one product by W
serve both.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pvae_neuro.models.counter_noise import CounterNoise
from pvae_neuro.models.dynamics import kl_divergence
from pvae_neuro.models.ipvae import IPVAE
from pvae_neuro.models.relaxed_poisson import RELEASED_ARRIVALS, sample_counts


class WindowResult(NamedTuple):
    """Loss terms of one window, averaged over batch and steps, and where it ended.

    Attributes
    ----------
    nll : Tensor
        Negative log-likelihood, nats per input, [].
    kl : Tensor
        Kullback-Leibler divergence, nats per input, [].
    u : Tensor
        Membrane potentials after the last step, [B, K].
    z : Tensor
        Readout sample of the last step, [B, K].
    """

    nll: Tensor
    kl: Tensor
    u: Tensor
    z: Tensor


def run_window(
    model: IPVAE,
    x: Tensor,
    u: Tensor,
    steps: int,
    temperature: float,
    generator: torch.Generator | CounterNoise | None = None,
    max_arrivals: int = RELEASED_ARRIVALS,
) -> WindowResult:
    """Run a window of time steps and keep what its loss needs.

    Parameters
    ----------
    model : IPVAE
        The model; gradients reach all its parameters.
    x : Tensor
        Inputs, [B, M].
    u : Tensor
        Membrane potentials before the first step, [B, K].
    steps : int
        Length of the window, T.
    temperature : float
        Of the relaxed samples.
    generator : torch.Generator or CounterNoise, optional
        Source of the samples.
    max_arrivals : int
        See :func:`~pvae_neuro.models.relaxed_poisson.sample_counts`.

    Returns
    -------
    WindowResult
        Loss terms and the last state.
    """
    drive = model.drive(x)
    z = sample_counts(u, temperature, generator, max_arrivals)
    residual = drive.feedforward - z @ drive.lateral
    nll, kl = u.new_zeros(()), u.new_zeros(())
    for _ in range(steps):
        u_prior = u
        for _ in range(model.config.inner_updates):
            u = model.advance(u, residual, u_prior)
            z = sample_counts(u, temperature, generator, max_arrivals)
            residual = drive.feedforward - z @ drive.lateral
        explained = 0.5 * (z * (drive.feedforward + residual)).sum()
        nll = nll - explained
        kl = kl + kl_divergence(u, u_prior, model.config.kl).sum()
    terms = steps * len(x)
    return WindowResult(nll / terms + drive.constant.mean(), kl / terms, u, z)
