"""The training loss of one window of time steps, computed in the space of the latents.

Two identities make a window several times cheaper than :meth:`IPVAE.step` and leave its expected
loss as it is. With ``W = Φᵀ Σ⁻¹ Φ`` and ``h = Φᵀ Σ⁻¹ x``, known before the first step, the residual
that drives the potentials is ``g = h - W z``, and the squared error of the same sample is
``½ (x - Φz)ᵀ Σ⁻¹ (x - Φz) = ½ xᵀ Σ⁻¹ x - ½ zᵀ (h + g)``: the loop touches no pixel. And the
sample that reads a step out may be the one that drives the next step: both are drawn at the same
potentials, so the expectation of each term stays the same, and one sample and one product by W
serve both.

Counts are relaxed (:mod:`~pvae_neuro.models.sampling.relaxed_poisson`) or exact
(:mod:`~pvae_neuro.models.sampling.exact_poisson`). With exact ones, hard clamps and numba installed
the window runs on compiled kernels (:mod:`~pvae_neuro.models.poisson.fused.window`), to the same
result.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor

from pvae_neuro.errors import InputError
from pvae_neuro.models.base import Model
from pvae_neuro.models.dynamics import kl_divergence
from pvae_neuro.models.poisson.ipvae import IPVAE
from pvae_neuro.models.sampling.counter_noise import CounterNoise
from pvae_neuro.models.sampling.exact_poisson import exact_counts
from pvae_neuro.models.sampling.relaxed_poisson import RELEASED_ARRIVALS, sample_counts

_HAS_NUMBA = find_spec("numba") is not None


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
    firing : Tensor
        Expected number of neurons that fire in a step, ``sum_k 1 - exp(-exp(u_k))``, []: K times
        one minus the share of zeros, and differentiable.
    """

    nll: Tensor
    kl: Tensor
    u: Tensor
    z: Tensor
    firing: Tensor


def run_window(
    model: IPVAE,
    x: Tensor,
    u: Tensor,
    steps: int,
    temperature: float = 0.0,
    generator: torch.Generator | CounterNoise | None = None,
    max_arrivals: int = RELEASED_ARRIVALS,
    estimator: str = "relaxed",
    fused: bool = True,
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
        Of the relaxed samples; exact ones have none.
    generator : torch.Generator or CounterNoise, optional
        Source of the samples.
    max_arrivals : int
        See :func:`~pvae_neuro.models.sampling.relaxed_poisson.sample_counts`; exact samples have
        none.
    estimator : {"relaxed", "exact"}
        How the gradient passes the counts.
    fused : bool
        Take the compiled kernels where they apply: exact counts from a :class:`CounterNoise`, hard
        clamps, one inner update, float32 on the CPU, numba installed.

    Returns
    -------
    WindowResult
        Loss terms and the last state. The last state of the kernels carries no gradient.

    Raises
    ------
    InputError
        If the estimator is neither.
    """
    if estimator not in ("relaxed", "exact"):
        raise InputError(f"estimator: expected 'relaxed' or 'exact', got {estimator!r}; choose one")
    if estimator == "exact" and fused and _HAS_NUMBA and isinstance(generator, CounterNoise):
        from pvae_neuro.models.poisson.fused.window import run_fused, supports

        if supports(model, x, u):
            nll, kl, firing, last, z = run_fused(model, x, u, steps, generator)
            return WindowResult(nll, kl, last, z, firing)

    def draw(potential: Tensor) -> Tensor:
        if estimator == "exact":
            return exact_counts(potential, generator)
        return sample_counts(potential, temperature, generator, max_arrivals)

    return _run_plain(model, x, u, steps, draw)


def is_compiled(model: Model, estimator: str) -> bool:
    """Whether windows of a model run on the kernels, which take one thread.

    Parameters
    ----------
    model : Model
    estimator : {"relaxed", "exact"}

    Returns
    -------
    bool
    """
    # Families that extend the linear one have windows of their own.
    if estimator != "exact" or not _HAS_NUMBA or type(model) is not IPVAE:
        return False
    from pvae_neuro.models.poisson.fused.window import supports

    return supports(model, model.dictionary.detach(), model.dictionary)


def _run_plain(
    model: IPVAE, x: Tensor, u: Tensor, steps: int, draw: Callable[[Tensor], Tensor]
) -> WindowResult:
    """The window step by step, differentiated by autograd."""
    drive = model.drive(x)
    z = draw(u)
    residual = drive.feedforward - z @ drive.lateral
    nll, kl, firing = (u.new_zeros(()) for _ in range(3))
    for _ in range(steps):
        u_prior = u
        for _ in range(model.config.inner_updates):
            u = model.advance(u, residual, u_prior)
            z = draw(u)
            residual = drive.feedforward - z @ drive.lateral
        nll = nll - 0.5 * (z * (drive.feedforward + residual)).sum()
        kl = kl + kl_divergence(u, u_prior, model.config.kl).sum()
        firing = firing - torch.expm1(-torch.exp(u)).sum()
    terms = steps * len(x)
    nll = nll / terms + drive.constant.mean()
    return WindowResult(nll, kl / terms, u, z, firing / terms)
